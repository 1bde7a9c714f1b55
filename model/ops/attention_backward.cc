// Probabilities are computed anew from queries and keys, a block of queries at a time; the softmax of a row needs no
// more than that row, so no statistics of the forward pass are kept.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "kernels/dense/dense_panel.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/attention.h"

namespace kerf {
namespace {

constexpr int64_t kQueries = 128;

// What a thread needs for one query head of one window. Rows of q, out and their gradients are q_stride apart, those of
// k and v kv_stride.
struct Head {
  const AttentionShape& shape;
  int64_t q_stride, kv_stride;
  const float *q, *k, *v, *out, *d_out;
  AttentionGradients d;
};

// In place of the scores q . k of one query on `keys` keys, of which it sees [hidden, seen): its probabilities. What a
// score's gradient is multiplied by on its way through cap and scale goes to `slope`.
void probabilities(const AttentionShape& s, float* scores, float* slope, int64_t hidden, int64_t seen, int64_t keys) {
  std::fill_n(scores, hidden, 0.0F);
  float scale = s.scale;
  if (s.softcap != 0) {
    for (int64_t i = hidden; i < seen; ++i) {
      const float capped = std::tanh(scores[i] * s.scale / s.softcap);
      scores[i] = s.softcap * capped;
      slope[i] = s.scale * (1 - capped * capped);
    }
    scale = 1;
  } else {
    std::fill(slope + hidden, slope + seen, s.scale);
  }
  elementwise().softmax(scores + hidden, seen - hidden, keys - hidden, scale, false, Rounding::none);
}

void backward(const Head& h) {
  const AttentionShape& s = h.shape;
  const int64_t d = s.head_dim;
  thread_local std::vector<float> scratch;
  scratch.resize(static_cast<size_t>(2 * kQueries * s.length + s.length));
  float *p = scratch.data(), *dp = p + kQueries * s.length, *slope = dp + kQueries * s.length;
  for (int64_t begin = 0; begin < s.length; begin += kQueries) {
    const int64_t end = std::min(s.length, begin + kQueries), rows = end - begin;
    const int64_t first = s.first_key(begin), keys = end - first;
    const float *k = h.k + first * h.kv_stride, *v = h.v + first * h.kv_stride;
    const float *q = h.q + begin * h.q_stride, *d_out = h.d_out + begin * h.q_stride;
    matmul_nt_on_this_thread(rows, keys, d, q, h.q_stride, k, h.kv_stride, p, keys, false);
    matmul_nt_on_this_thread(rows, keys, d, d_out, h.q_stride, v, h.kv_stride, dp, keys, false);
    for (int64_t t = 0; t < rows; ++t) {
      float *p_row = p + t * keys, *dp_row = dp + t * keys;
      const float *o = h.out + (begin + t) * h.q_stride, *d_o = d_out + t * h.q_stride;
      const int64_t hidden = s.first_key(begin + t) - first, seen = begin + t + 1 - first;
      probabilities(s, p_row, slope, hidden, seen, keys);
      float mean = 0;  // of dP over P
      for (int64_t i = 0; i < d; ++i) mean += o[i] * d_o[i];
      std::fill_n(dp_row, hidden, 0.0F);
      for (int64_t i = hidden; i < seen; ++i) dp_row[i] = p_row[i] * (dp_row[i] - mean) * slope[i];
      std::fill(dp_row + seen, dp_row + keys, 0.0F);
    }
    if (h.d.v)
      add_product_tn_on_this_thread(rows, keys, d, p, keys, d_out, h.q_stride, h.d.v + first * h.kv_stride,
                                    h.kv_stride);
    if (h.d.k)
      add_product_tn_on_this_thread(rows, keys, d, dp, keys, q, h.q_stride, h.d.k + first * h.kv_stride, h.kv_stride);
    if (h.d.q)
      matmul_nn_on_this_thread(rows, keys, d, dp, keys, k, h.kv_stride, h.d.q + begin * h.q_stride, h.q_stride, true);
  }
}

}  // namespace

void causal_attention_backward(const AttentionShape& s, const float* q, const float* k, const float* v,
                               const float* out, const float* d_out, const AttentionGradients& gradients) {
  const int64_t d = s.head_dim, q_stride = s.heads * d, kv_stride = s.kv_heads * d, per_group = s.heads / s.kv_heads;
  parallel_for(s.windows * s.kv_heads, [&](int64_t task) {
    const int64_t first = task / s.kv_heads * s.length, kv_head = task % s.kv_heads;
    const int64_t kv = first * kv_stride + kv_head * d;
    for (int64_t head = kv_head * per_group; head < (kv_head + 1) * per_group; ++head) {
      const int64_t at = first * q_stride + head * d;
      backward({.shape = s,
                .q_stride = q_stride,
                .kv_stride = kv_stride,
                .q = q + at,
                .k = k + kv,
                .v = v + kv,
                .out = out + at,
                .d_out = d_out + at,
                .d = {.q = gradients.q ? gradients.q + at : nullptr,
                      .k = gradients.k ? gradients.k + kv : nullptr,
                      .v = gradients.v ? gradients.v + kv : nullptr}});
    }
  });
}

}  // namespace kerf
