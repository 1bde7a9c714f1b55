#include "model/ops/ggml_attention.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/cpu.h"
#include "core/parallel.h"

namespace kerf {

const GgmlOps& ggml_ops() {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return ggml_ops_avx512();
  if (isa() == Isa::avx2) return ggml_ops_avx2();
#endif
  return ggml_ops_ref16();
}

bool ggml_sums_pairs(int64_t n) {
#if defined(__x86_64__)
  return n % 32 == 0 && isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

void ggml_pair_order(std::span<float> values) {
  for (size_t begin = 0; begin + 32 <= values.size(); begin += 32) {
    float odd[16], even[16];
    for (size_t i = 0; i < 16; ++i) {
      even[i] = values[begin + 2 * i];
      odd[i] = values[begin + 2 * i + 1];
    }
    std::copy_n(odd, 16, &values[begin]);
    std::copy_n(even, 16, &values[begin + 16]);
  }
}

void ggml_rope_tables(const Architecture& a, int64_t length, std::vector<float>& cosines, std::vector<float>& sines) {
  const Rope& rope = a.rope;
  const float step = std::pow(static_cast<float>(rope.theta), -2.0F / static_cast<float>(a.head_dim));
  const float freq_scale = rope.scaling == RopeScaling::linear ? 1.0F / static_cast<float>(rope.factor) : 1.0F;
  // A linear scale travels as a key of its own, all others as rope_freqs.weight.
  std::vector<float> divisors(static_cast<size_t>(a.head_dim / 2), 1.0F);
  if (rope.scaling != RopeScaling::linear || !rope.divisors.empty()) divisors = a.rope_divisors();
  for (int64_t t = 0; t < length; ++t) {
    auto angle = static_cast<float>(t);
    for (float divisor : divisors) {
      const float turned = freq_scale * (angle / divisor);
      cosines.push_back(std::cos(turned));
      sines.push_back(std::sin(turned));
      angle *= step;
    }
  }
}

void ggml_causal_attention(const AttentionShape& s, bool interleaved, const float* q, const float* k, const float* v,
                           float* out) {
  const GgmlOps& ops = ggml_ops();
  const GgmlHead head{.length = s.length,
                      .head_dim = s.head_dim,
                      .q_stride = s.heads * s.head_dim,
                      .kv_stride = s.kv_heads * s.head_dim,
                      .scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim)),
                      .interleaved = interleaved};
  const auto floats = static_cast<size_t>(ggml_scratch_floats(head));
  parallel_for(s.windows * s.heads, [&](int64_t task) {
    const int64_t window = task / s.heads, h = task % s.heads, kv_head = h / (s.heads / s.kv_heads);
    const int64_t q_at = window * s.length * head.q_stride + h * s.head_dim;
    const int64_t kv_at = window * s.length * head.kv_stride + kv_head * s.head_dim;
    thread_local std::unique_ptr<float[]> scratch;
    thread_local size_t size = 0;
    if (size < floats) {
      scratch = std::make_unique_for_overwrite<float[]>(floats);
      size = floats;
    }
    ops.attention(head, q + q_at, k + kv_at, v + kv_at, out + q_at, scratch.get());
  });
}

}  // namespace kerf
