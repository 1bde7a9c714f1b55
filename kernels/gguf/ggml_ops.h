// The operations of a forward pass that are not products with weights, in the exact float32 steps of llama.cpp's CPU
// code (ggml-cpu at llama.cpp v0.5.0, x86, a batch of at least two tokens; ggml_flash.h has attention as it is with
// flash attention on). Order is part of the definition here: rounding activations to 8 bits turns one last bit into a
// different code sooner or later, and the logits then differ by as much as the whole rounding does. All is float32,
// rounded after each operation; fma(a, b, c) rounds once. L is the number of float32 lanes of ggml's build for the CPU:
// 16 with AVX-512, 8 with AVX2. "Sum by halves" of L lanes: v[i] += v[i + L/2] for i < L/2, then L/4, ... 1.
//
//   norm       s = sum of x[i] x[i] in double, one by one (each square rounded to float32 first);
//              (x[i] (1 / sqrt(float(s / n) + eps))) weight[i]                        (ops.cpp, rms_norm)
//   angles     a = position; pair i turns by (a / divisor[i]) freq_scale and then a *= powf(theta, -2 / head_dim), all
//              in float32; cosf and sinf of the C library                              (ops.cpp, ggml_rope_cache_init)
//   rotation   x0' = fma(x0, c, -(x1 s)), x1' = fma(x0, s, x1 c)                       (rotate_pairs, as GCC contracts)
//   scores     queries and keys rounded to F16; acc[d % L] = fma(k[d], q[d], acc[d % L]) for d = 0, 1, ... where d
//              counts the head's elements as GGUF orders them; summed by halves; then times the scale, which some
//              models multiply the queries with instead, before they are rounded
//                                                                                      (llamafile/sgemm.cpp, tinyBLAS)
//   softmax    p = exp(score - max), 0 for masked positions; the sum is taken in double over partial sums of L
//              positions by halves in float32; p float(1 / sum), rounded to F16        (vec.cpp, ggml_vec_soft_max_f32)
//   values     rounded to F16; acc[s % L] = fma(v[s], p[s], acc[s % L]) over positions s, summed by halves
//   product    with weights in F32, F16 or BF16, both sides rounded to that type: acc[d % L] = fma(w[d], x[d],
//              acc[d % L]), summed by halves. BF16 on processors with AVX512_BF16: lane l of 16 takes d = 2l + 1 and
//              then 2l of each 32 (vdpbf16ps), so with columns in that order (ggml_pair_order) the sum is the same
//                                                                                      (llamafile/sgemm.cpp, tinyBLAS)
//   gate       (x / (1 + exp(0 - x))) up                                               (vec.cpp, ggml_vec_swiglu_f32)
//   exp(x)     z = fma(x, 0x1.715476p0, 0x1.8p23), n = z - 0x1.8p23,
//              b = fma(-n, 0x1.7f7d1cp-20, fma(-n, 0x1.62e4p-1, x)), u = b b,
//              q = fma(fma(0x1.0e4020p-7, b, 0x1.573e2ep-5), u, fma(0x1.555e66p-3, b, 0x1.fffdb6p-2));
//              L = 16: fma(q, u, fma(0x1.ffffecp-1, b, 1)) 2^n, rounded once;
//              L = 8: j = fma(q, u, 0x1.ffffecp-1 b), then fma(j, 2^n, 2^n) for |n| <= 126, and beyond
//              fma(j, h, h) g with h = 2^(n + 125), g = 2^-125 for n <= 0 and h = 2^(n - 127), g = 2^127 for n > 0;
//              both: 0 for n < -192, infinity for n > 192                              (vec.h, ggml_v_expf)
//
// Where a length is no multiple of L, the missing elements count as zero; ggml then takes other paths, whose order is
// not followed (with GGUF blocks of 32 that is only an odd head_dim; and in a product, rows that are no multiple of 4).
#pragma once

#include <stdint.h>

#include "kernels/kv_cache.h"

namespace kerf {

/// One head of one window. Rows of q and out are q_stride floats apart, rows of k and v kv_stride.
struct GgmlHead {
  int64_t length = 0, head_dim = 0, q_stride = 0, kv_stride = 0;
  float scale = 1;
  bool interleaved = false;    // GGUF holds pairs (h, h + head_dim / 2) of a head side by side
  bool scale_queries = false;  // q is multiplied by the scale before it is rounded, and the scores are not
  int64_t window = INT64_MAX;  // position t sees s <= t with t - s < window; masked positions take part as zeros
  KvCache cache = KvCache::f16;
};

struct GgmlOps {
  int lanes;
  void (*rms_norm)(const float* x, const float* weight, float* out, int64_t n, float eps);
  /// Pairs (h, h + half) of each head; tables are [half].
  void (*rotate)(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines);
  /// out may be gate.
  void (*silu_gate)(const float* gate, const float* up, float* out, int64_t n);
  /// y[t * y_stride + r] = product of row r of w [rows, n] and row t of x [tokens, n].
  void (*product)(const float* w, int64_t rows, const float* x, int64_t tokens, int64_t n, float* y, int64_t y_stride);
  /// Without flash attention, and a cache in F16. scratch: ggml_scratch_floats().
  void (*attention)(const GgmlHead&, const float* q, const float* k, const float* v, float* out, float* scratch);
  /// With it: ggml_flash.h. scratch: ggml_flash_scratch_floats().
  void (*flash_attention)(const GgmlHead&, const float* q, const float* k, const float* v, float* out, float* scratch);
};

/// The definitions in plain code, for 16 and for 8 lanes, and what is tested bit for bit against them.
const GgmlOps& ggml_ops_ref16();
const GgmlOps& ggml_ops_ref8();
const GgmlOps& ggml_ops_avx2();
const GgmlOps& ggml_ops_avx512();

constexpr int64_t ggml_padded(int64_t n) { return (n + 15) / 16 * 16; }
constexpr int64_t ggml_scratch_floats(const GgmlHead& h) {
  // Keys [head_dim][length], values [length][head_dim], one query and one row of scores, all padded to lanes; rows of
  // keys are 16 floats longer, lest those of a power of two all fall on the same cache lines.
  const int64_t dims = ggml_padded(h.head_dim), length = ggml_padded(h.length);
  return dims * (length + 16) + length * dims + dims + length;
}

}  // namespace kerf
