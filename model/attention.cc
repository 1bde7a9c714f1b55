// Scores of a block of queries against all keys before its end as one dense product, softmax by row, and a second dense
// product with the transposed values. Query blocks halve the work that causality makes useless, and bound the scratch.
#include "model/attention.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "kernels/dense_panel.h"
#include "model/elementwise_choice.h"

namespace kerf {
namespace {

constexpr int64_t kQueries = 128;

/// Four pieces of one allocation that a thread keeps.
struct Scratch {
  std::unique_ptr<float[]> memory;
  size_t size = 0;
  float* get(int64_t n) {
    if (static_cast<size_t>(n) > size) {
      memory = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(n));
      size = static_cast<size_t>(n);
    }
    return memory.get();
  }
};

/// Rows of `width` from a strided matrix, rounded.
void copy_rounded(const float* from, int64_t rows, int64_t width, int64_t stride, float* to, Rounding rounding,
                  const Elementwise& ops) {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(from + r * stride, width, to + r * width);
  ops.round(to, rows * width, rounding);
}

void transpose(const float* from, int64_t rows, int64_t cols, int64_t stride, float* to) {
  constexpr int64_t kTile = 16;  // floats in a cache line
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r) to[c * rows + r] = from[r * stride + c];
}

}  // namespace

void causal_attention(const AttentionShape& s, const float* q, const float* k, const float* v, float* out) {
  const Elementwise& ops = elementwise();
  const int64_t d = s.head_dim, length = s.length, q_stride = s.heads * d, kv_stride = s.kv_heads * d;
  parallel_for(s.windows * s.heads, [&](int64_t task) {
    const int64_t window = task / s.heads, head = task % s.heads, kv_head = head / (s.heads / s.kv_heads);
    const int64_t first = window * length;
    const float* qh = q + first * q_stride + head * d;
    const float* kh = k + first * kv_stride + kv_head * d;
    const float* vh = v + first * kv_stride + kv_head * d;
    float* oh = out + first * q_stride + head * d;

    thread_local Scratch scratch;
    float* values = scratch.get(2 * length * d + kQueries * (length + d));
    float* keys = values + length * d;
    float* scores = keys + length * d;
    float* queries = scores + kQueries * length;
    transpose(vh, length, d, kv_stride, values);
    ops.round(values, length * d, s.rounding);
    int64_t key_stride = kv_stride;
    if (s.rounding != Rounding::none) {
      copy_rounded(kh, length, d, kv_stride, keys, s.rounding, ops);
      kh = keys;
      key_stride = d;
    }
    for (int64_t begin = 0; begin < length; begin += kQueries) {
      const int64_t end = std::min(length, begin + kQueries);
      const float* block = qh + begin * q_stride;
      int64_t block_stride = q_stride;
      if (s.rounding != Rounding::none) {
        copy_rounded(block, end - begin, d, q_stride, queries, s.rounding, ops);
        block = queries;
        block_stride = d;
      }
      matmul_nt_on_this_thread(end - begin, end, d, block, block_stride, kh, key_stride, scores, end, false);
      float factors[kQueries];
      for (int64_t t = begin; t < end; ++t)
        factors[t - begin] = ops.softmax(scores + (t - begin) * end, t + 1, end, s.scale, s.fused, s.rounding);
      matmul_nt_on_this_thread(end - begin, d, end, scores, end, values, length, oh + begin * q_stride, q_stride,
                               false);
      for (int64_t t = begin; s.fused && t < end; ++t)
        for (int64_t i = 0; i < d; ++i) oh[t * q_stride + i] *= factors[t - begin];
    }
  });
}

}  // namespace kerf
