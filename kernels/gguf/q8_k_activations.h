// Activations rounded to 8-bit blocks of 256 (Q8_K), as llama.cpp's x86 CPU code rounds them before a product with
// weights in K, IQ1 to IQ3, IQ4_XS or TQ blocks (ggml-quants.c, quantize_row_q8_K_ref; ggml-cpu/arch/x86/repack.cpp,
// ggml_quantize_mat_q8_K_4x8, which may flip the sign of a block's codes and of its scale, but of no product).
//
// For one block: m = the first x of largest magnitude; i = -127 / m and d = 1 / i in float32; code = x * i in float32,
// to the nearest integer, ties to even: -127 to 127. Without a finite i (|m| < 127 / FLT_MAX) and for an infinite m all
// codes are 0; a block of zeros has d = 0. A NaN makes d NaN (llama.cpp may lose it).
//
// One row is laid out for the kernels: int8 codes[cols], then float scales[cols / 256] (d), then int16 sums[cols / 16]
// of 16 codes each, by which kernels take off what belongs to minima and zero points of weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kerf {

struct PackedMatrix;

constexpr int64_t kQ8KBlock = 256, kQ8KSum = 16;

/// Of one row; the Error unsupported when cols is no multiple of 256.
int64_t q8_k_activation_bytes(const PackedMatrix&);
/// The definition.
void round_to_q8_k_ref(const PackedMatrix&, const float* x, std::byte* out);
/// out[k] = code * scale.
void q8_k_activation_values(const PackedMatrix&, const std::byte* row, float* out);

}  // namespace kerf
