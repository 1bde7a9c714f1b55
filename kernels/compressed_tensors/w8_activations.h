// What every kernel of compressed-tensors weights of 8 bits with 8-bit activations agrees on. Weights lie one byte
// each: signed integers ("int-quantized") or e4m3 floats ("float-quantized"), with one scale per rectangle of
// scale_rows rows and `group` columns, of which the last may be cut off by the matrix's edge. Activations are rounded
// to 8 bits just before each product, with a scale of their own for every activation_group values of a token.
//
// Two rules are known, which give visibly different codes:
//   package   the compressed-tensors package, as transformers runs it on any device: quantize and dequantize, every
//             step rounded to the model's dtype C. scale = C(absmax / top) with top = 127.5 or 448, the machine epsilon
//             of C where that is 0; a = C(scale * code(C(x / scale))), weights C(C(scale) * code), because transformers
//             loads scales of another type into parameters of the model's; sums in float32. Source: compressed_tensors
//             0.20, quantization/utils/helpers.py, quantization/lifecycle/forward_helpers.py.
//   vllm      vLLM's GPU kernels: float32 scales, absmax / 127 or absmax / 448; int32 or float32 sums of the products
//             of codes, scaled afterwards in float32.
//             Source: vLLM, csrc/quantization/w8a8 (int8/scaled_quant.cu, fp8/common.cu, fp8/per_token_group_quant.cu).
#pragma once

#include <cstddef>
#include <cstdint>

namespace kerf {

struct PackedMatrix;

enum class ActivationRule { package, vllm };

/// 4 bytes per activation: a row is float32 values. Error unsupported when scales, groups or compute dtype are outside
/// the format.
int64_t w8_activation_bytes(const PackedMatrix&);
/// Signed codes, zeros up to a multiple of 64, then the scale (float32) and the sum of the codes (int32). Error
/// unsupported also unless there is one scale per row (or one for all) and one per token, and for rows so long that
/// int32 sums could overflow.
int64_t w8a8_activation_bytes(const PackedMatrix&);
void w8_activation_values(const PackedMatrix&, const std::byte* row, float* out);
void w8a8_activation_values(const PackedMatrix&, const std::byte* row, float* out);

}  // namespace kerf
