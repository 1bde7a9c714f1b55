// Attention as llama.cpp's CPU code on x86 computes it with flash attention on, its default (ops.cpp at v0.5.0,
// ggml_compute_forward_flash_attn_ext; a batch of at least two tokens). L, exp and sums by halves are those of
// ggml_ops.h; expf is the C library's. A head's elements are counted as GGUF orders them.
//
//   tiles      with a cache in F16 (or F32, whose keys and values are rounded to F16 when they are read), 64 tokens or
//              more, and a head of whole vectors of L. Keys are taken by 64, at positions 0, 64, ...; queries stay
//              float32. For each tile of keys that the query sees something of:
//                score = the chain acc = fma(k[d], q[d], acc) over d, times the scale; masked positions -infinity
//                m' = max(m, scores); where that is more than m: values and sum are multiplied by expf(m - m')
//                p = exp(score - m'); sum = float(sum + s), s the double sum of p over L positions each, by halves
//                values[i] = fma(p, v[i], values[i]) over the positions in order
//              In the end values (1 / sum). Which queries share a tile changes nothing.
//   rows       otherwise, one position after the other: where the score is above m, values and sum are multiplied by
//              ms = expf(m - score), m = score and vs = 1; elsewhere ms = 1 and vs = expf(score - m).
//              values[i] = fma(v[i], vs, values[i]), in F16 rounded to F16 after each step (also of ms);
//              sum = sum ms + vs. In the end values (1 / sum).
//     F16      the query is rounded to F16. acc[j][l] = fma(k[d], q[d], acc[j][l]) for d = (4 n + j) L + l as far as
//              whole 4 L go; (acc[0] + acc[2]) + (acc[1] + acc[3]); summed by halves (L = 8: by halves to 4 lanes, then
//              (0 + 1) + (2 + 3)); the other products, rounded to float32, are added one by one in double
//     Q8_0, Q4_0   keys and values are rounded to blocks of 32 when they are stored, queries to Q8_0
//              (q8_activations.h; quantize_row_q4_0_ref). For each block acc[l] = fma(dk dq, i, acc[l]), i the whole
//              number that elements 4 l to 4 l + 3 give, l < 8; summed by halves; then times the scale
//   rotation   with a quantized cache and heads of a multiple of 64, so that no element stands out: queries and keys by
//              the Walsh-Hadamard matrix of the largest power of two that divides the head, values and what attention
//              makes of them by that of 64. x (1 / sqrt(n)), then sums and differences of elements 1, 2, 4, ... apart
#pragma once

#include "kernels/gguf/ggml_ops.h"

namespace kerf {

constexpr int64_t kGgmlTile = 64;
constexpr int64_t kGgmlBlock = 32;  // of a quantized cache

constexpr bool ggml_flash_by_tiles(const GgmlHead& h, int lanes) {
  return !is_quantized(h.cache) && h.length >= kGgmlTile && h.head_dim % lanes == 0;
}

/// For GgmlOps::flash_attention.
constexpr int64_t ggml_flash_scratch_floats(const GgmlHead& h) {
  // Keys and values, a tile of queries with their results, four rows of scores of a tile or one of all positions,
  // and for quantized keys a scale for each block; padded as in ggml_scratch_floats().
  const int64_t dims = ggml_padded(h.head_dim), length = ggml_padded(h.length) + kGgmlTile;
  return dims * (length + 16) + length * dims + 2 * kGgmlTile * dims + 4 * kGgmlTile + length +
         (dims / kGgmlBlock + 1) * (length + 17);
}

}  // namespace kerf
