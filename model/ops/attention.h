// Causal softmax attention within windows.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"

namespace kerf {

struct AttentionShape {
  int64_t windows = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0;  // heads a multiple of kv_heads
  float scale = 1;                                                         // of the scores
  int64_t window = 0;                  // position t sees s <= t with t - s < window; 0: all of them
  float softcap = 0;                   // c: scores become c tanh(scale score / c); 0: none
  bool fused = false;                  // probabilities are divided by their sum after the product, not before
  Rounding rounding = Rounding::none;  // of queries, keys, values and probabilities; sums are float32

  /// That a query sees.
  int64_t first_key(int64_t query) const { return window > 0 && query >= window ? query - window + 1 : 0; }
};

/// out[t, h] = sum over visible s <= t of p[t, s] v[s, h / (heads / kv_heads)] with p[t, .] = softmax(scale q[t, h] .
/// k[s,
/// ..]). q and out are [windows * length, heads * head_dim], k and v [windows * length, kv_heads * head_dim]. On kerf's
/// threads, one head of one window each.
void causal_attention(const AttentionShape&, const float* q, const float* k, const float* v, float* out);

/// Gradients are added; nullptr: not wanted.
struct AttentionGradients {
  float *q = nullptr, *k = nullptr, *v = nullptr;
};
/// The way back, in float32 (`rounding` and `fused` count for nothing). `out` is what causal_attention() gave. With P
/// the probabilities of a query over its keys and S the capped, scaled scores: dV = P^T dO, dP = dO V^T, dS = P (dP -
/// dO . O), and through cap and scale to q and k. A block of queries at a time, never all scores (FlashAttention,
/// Dao et al., 2022). On kerf's threads, one group of heads of one window each.
void causal_attention_backward(const AttentionShape&, const float* q, const float* k, const float* v, const float* out,
                               const float* d_out, const AttentionGradients&);

}  // namespace kerf
