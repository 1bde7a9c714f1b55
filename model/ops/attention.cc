// Scores of a block of queries against all keys before its end as one dense product, softmax by row, and a second dense
// product with the transposed values. Query blocks halve the work that causality makes useless, and bound the scratch.
#include "model/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/converter.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/dense_panel.h"
#include "kernels/elementwise/elementwise_choice.h"

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

// What a thread needs for one head.
struct Head {
  const AttentionShape& shape;
  const Elementwise& ops;
  int64_t q_stride, kv_stride;
  const float *q, *k, *v;
  float* out;

  // Probabilities in place of the scores [end - begin, end - first] of the queries from `begin` on and the keys from
  // `first` on; factors as softmax gives them.
  void softmax(float* scores, int64_t begin, int64_t end, int64_t first, float* factors) const {
    const int64_t keys = end - first;
    for (int64_t t = begin; t < end; ++t) {
      float* row = scores + (t - begin) * keys;
      const int64_t hidden = shape.first_key(t) - first;
      std::fill_n(row, hidden, 0.0F);
      float scale = shape.scale;
      if (shape.softcap != 0) {
        for (int64_t s = hidden; s <= t - first; ++s)
          row[s] = shape.softcap * std::tanh(row[s] * scale / shape.softcap);
        scale = 1;
      }
      factors[t - begin] =
          ops.softmax(row + hidden, t + 1 - first - hidden, keys - hidden, scale, shape.fused, shape.rounding);
    }
  }
  void finish(int64_t begin, int64_t end, const float* factors) const {
    for (int64_t t = begin; shape.fused && t < end; ++t)
      for (int64_t i = 0; i < shape.head_dim; ++i) out[t * q_stride + i] *= factors[t - begin];
  }
};

void attend(const Head& h) {
  const AttentionShape& s = h.shape;
  const int64_t d = s.head_dim, length = s.length;
  thread_local Scratch scratch;
  float* values = scratch.get(2 * length * d + kQueries * (length + d));
  float* keys = values + length * d;
  float* scores = keys + length * d;
  float* queries = scores + kQueries * length;
  transpose(h.v, length, d, h.kv_stride, values);
  h.ops.round(values, length * d, s.rounding);
  const float* k = h.k;
  int64_t key_stride = h.kv_stride;
  if (s.rounding != Rounding::none) {
    copy_rounded(k, length, d, h.kv_stride, keys, s.rounding, h.ops);
    k = keys;
    key_stride = d;
  }
  for (int64_t begin = 0; begin < length; begin += kQueries) {
    const int64_t end = std::min(length, begin + kQueries);
    const float* block = h.q + begin * h.q_stride;
    int64_t block_stride = h.q_stride;
    if (s.rounding != Rounding::none) {
      copy_rounded(block, end - begin, d, h.q_stride, queries, s.rounding, h.ops);
      block = queries;
      block_stride = d;
    }
    const int64_t first = s.first_key(begin), seen = end - first;
    matmul_nt_on_this_thread(end - begin, seen, d, block, block_stride, k + first * key_stride, key_stride, scores,
                             seen, false);
    float factors[kQueries];
    h.softmax(scores, begin, end, first, factors);
    matmul_nt_on_this_thread(end - begin, d, seen, scores, seen, values + first, length, h.out + begin * h.q_stride,
                             h.q_stride, false);
    h.finish(begin, end, factors);
  }
}

// The same where operands are rounded to bf16 anyway and the CPU multiplies such numbers faster.
void attend_bf16(const Head& h) {
  const AttentionShape& s = h.shape;
  const int64_t d = s.head_dim, length = s.length;
  thread_local Scratch scratch;
  thread_local std::vector<uint16_t> halves;
  float* scores = scratch.get(kQueries * (length + d));
  float* result = scores + kQueries * length;
  halves.resize(static_cast<size_t>(2 * length * d + kQueries * (length + d)));
  uint16_t *keys = halves.data(), *values = keys + length * d, *queries = values + length * d;
  uint16_t* probabilities = queries + kQueries * d;
  const auto narrow = [](const float* from, int64_t rows, int64_t width, int64_t stride, uint16_t* to) {
    for (int64_t r = 0; r < rows; ++r) converter().f32_to_bf16(from + r * stride, to + r * width, width);
  };
  narrow(h.k, length, d, h.kv_stride, keys);
  narrow(h.v, length, d, h.kv_stride, values);
  for (int64_t begin = 0; begin < length; begin += kQueries) {
    const int64_t end = std::min(length, begin + kQueries), rows = end - begin;
    narrow(h.q + begin * h.q_stride, rows, d, h.q_stride, queries);
    const int64_t first = s.first_key(begin), seen = end - first;
    matmul_bf16_on_this_thread(rows, seen, d, queries, keys + first * d, true, scores);
    float factors[kQueries];
    h.softmax(scores, begin, end, first, factors);
    narrow(scores, 1, rows * seen, 0, probabilities);
    matmul_bf16_on_this_thread(rows, d, seen, probabilities, values + first * d, false, result);
    for (int64_t t = 0; t < rows; ++t) std::copy_n(result + t * d, d, h.out + (begin + t) * h.q_stride);
    h.finish(begin, end, factors);
  }
}

}  // namespace

void causal_attention(const AttentionShape& s, const float* q, const float* k, const float* v, float* out) {
  const int64_t d = s.head_dim, q_stride = s.heads * d, kv_stride = s.kv_heads * d;
  const bool bf16 = s.rounding == Rounding::bf16 && fast_bf16();
  parallel_for(s.windows * s.heads, [&](int64_t task) {
    const int64_t window = task / s.heads, head = task % s.heads, kv_head = head / (s.heads / s.kv_heads);
    const int64_t first = window * s.length;
    const Head h{.shape = s,
                 .ops = elementwise(),
                 .q_stride = q_stride,
                 .kv_stride = kv_stride,
                 .q = q + first * q_stride + head * d,
                 .k = k + first * kv_stride + kv_head * d,
                 .v = v + first * kv_stride + kv_head * d,
                 .out = out + first * q_stride + head * d};
    bf16 ? attend_bf16(h) : attend(h);
  });
}

}  // namespace kerf
