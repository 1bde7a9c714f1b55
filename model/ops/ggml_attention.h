// llama.cpp's order of sums (kernels/gguf/ggml_ops.h) for the CPU in use: choosing the operations, the rotation angles,
// and attention over all heads.
#pragma once

#include <span>
#include <vector>

#include "kernels/arithmetic.h"
#include "kernels/gguf/ggml_ops.h"
#include "model/arch/architecture.h"
#include "model/ops/attention.h"

namespace kerf {

/// For isa(): ggml's AVX-512 or AVX2 order. Without either (KERF_ISA=ref, other processors) the definition in plain
/// code with 16 lanes: what llama.cpp computes on an AVX-512 machine, not what it would compute here.
const GgmlOps& ggml_ops();

/// Whether BF16 products here go by pairs (ggml_ops.h): rows of n weights, n a multiple of 32.
bool ggml_sums_pairs(int64_t n);
/// Puts every 32 of the values in the order that ggml_ops.h says, both of weights and of activations.
void ggml_pair_order(std::span<float> values);

/// Appends the cosines and sines of positions 0 .. length - 1, [length, rotated / 2] each.
void ggml_rope_tables(const Rope&, int64_t length, std::vector<float>& cosines, std::vector<float>& sines);

/// causal_attention() in this order; rounding and softcap of the shape are not read. `scales_queries`: the scale
/// multiplies the queries before they are rounded, and not the scores. A quantized cache takes heads of whole blocks
/// (kGgmlBlock); Error internal for others.
void ggml_causal_attention(const GgmlAttention&, const AttentionShape&, bool interleaved, bool scales_queries,
                           const float* q, const float* k, const float* v, float* out);

}  // namespace kerf
