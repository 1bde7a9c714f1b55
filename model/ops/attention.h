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
};

/// out[t, h] = sum over visible s <= t of p[t, s] v[s, h / (heads / kv_heads)] with p[t, .] = softmax(scale q[t, h] .
/// k[s,
/// ..]). q and out are [windows * length, heads * head_dim], k and v [windows * length, kv_heads * head_dim]. On kerf's
/// threads, one head of one window each.
void causal_attention(const AttentionShape&, const float* q, const float* k, const float* v, float* out);

}  // namespace kerf
