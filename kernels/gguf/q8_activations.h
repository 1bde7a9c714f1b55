// Activations rounded to 8-bit blocks of 32, as llama.cpp's x86 CPU code rounds them before a product with the types
// of q8_types.h (ggml-cpu/arch/x86/quants.c, quantize_row_q8_0 and quantize_row_q8_1; the repacked kernels of
// repack.cpp round alike).
//
// For one block: a = the largest |x|, d = a / 127 in float32, stored as F16; id = 127 / a in float32, or 0 when a is 0;
// code = x * id in float32, to the nearest integer, ties to even. What float-to-integer conversion does on x86 when the
// product is no int32 (NaN, or id is infinite because a < 127 / FLT_MAX): code -128. An infinite x makes d infinite. A
// NaN makes d NaN (llama.cpp's maximum may lose it). Q8_1 adds s = F16(d * sum of the codes), with d before it is
// rounded.
//
// One row is laid out for the kernels: int8 codes[cols], then float scales[cols / 32] (d, already rounded to F16), then
// for types with kSums float sums[cols / 32] (s), then int32 corrections: minus the weights' zero point times the sum
// of the codes that a kernel adds up in integers, which are a block (Q4_0: cols / 32 corrections) or four (Q8_0:
// cols / 4). Kernels that multiply unsigned weight codes u = q + zero point add this to get the sum of q * code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gguf/q8_types.h"

namespace kerf {

struct PackedMatrix;

constexpr int64_t kQ8Block = 32;

/// Of one row; Error unsupported when cols is no multiple of the weights' block.
int64_t q8_activation_bytes(const PackedMatrix&, int64_t block, int extra_words);
/// The definition, for weights stored with this zero point, with so many corrections for each block.
void round_to_q8_ref(int64_t cols, int zero_point, int corrections, bool sums, const float* x, std::byte* out);
/// out[k] = code * scale.
void q8_activation_values(const PackedMatrix&, const std::byte* row, float* out);

}  // namespace kerf
