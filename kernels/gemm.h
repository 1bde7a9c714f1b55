// Products with packed weights in the arithmetic of the runtime that loads them.
//
// One file per format and instruction set, gemm_<format>_<isa>.cc; the one ending in _ref is the definition and is
// never optimised, the others are tested against it. GGUF formats are defined down to the order of float32 sums, which
// is llama.cpp's (q8_gemm_ref.h, q8_k_gemm_ref.h), and all kernels give the same bits; where a runtime's order is not
// known, float sums agree within a derived bound.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/cpu.h"
#include "core/dtype.h"

namespace kerf {

/// A weight matrix [rows, cols] as its bytes lie in a file, cols > 0. Rows are independent.
struct PackedMatrix {
  int64_t rows = 0, cols = 0;
  const std::byte* codes = nullptr;  // row r begins at codes + r * code_stride
  int64_t code_stride = 0;           // bytes
  // For formats that keep scales in a tensor of their own (compressed-tensors); unused by GGUF blocks.
  const std::byte* scales = nullptr;  // [rows, cols / group]
  int64_t scale_stride = 0;           // bytes
  Dtype scale_dtype = Dtype::f32;     // F32, F16 or BF16
  int bits = 0;                       // 4 or 8
  int64_t group = 0;                  // weights per scale along a row; cols when there is one scale per row
  Dtype compute = Dtype::f32;         // the model's dtype: weights and activations are rounded to it
  int64_t scale_rows = 1;             // rows that share a row of scales (formats of w8_activations.h)
  int64_t activation_group = 0;       // activations that share a scale, where they are rounded to 8 bits
};

struct PackedGemm {
  std::string_view format;  // a type of GGUF, as formats/ggml_type.cc spells it, or "ct-int4", "ct-int8", "ct-w8a8",
                            // "ct-fp8", "vllm-w8a8", "vllm-fp8"
  Isa isa;
  /// Bytes that one row of `cols` activations occupies after rounding, a multiple of 4 (rows lie at 4-byte boundaries).
  /// Error unsupported when the format cannot hold a matrix of this shape or group.
  int64_t (*activation_bytes)(const PackedMatrix&);
  /// Rounds one row of activations x[cols] the way the runtime does before the product.
  void (*round_activations)(const PackedMatrix&, const float* x, std::byte* out);
  /// y[t * y_stride + (r - row_begin)] = sum over k of a[t, k] * w[r, k] for rows [row_begin, row_end);
  /// `activations` holds `tokens` rounded rows back to back. One thread. The order of sums may depend on `tokens`
  /// (q8_k_types.h).
  void (*multiply)(const PackedMatrix&, int64_t row_begin, int64_t row_end, const std::byte* activations,
                   int64_t tokens, float* y, int64_t y_stride);
  /// out[cols] = row r as the runtime dequantizes it (embedding look-up).
  void (*dequantize)(const PackedMatrix&, int64_t row, float* out);
  /// out[cols] = the values that one rounded row stands for: multiply() is the product of dequantize() and these, up to
  /// the rounding of float32 sums.
  void (*activation_values)(const PackedMatrix&, const std::byte* activations, float* out);
};

std::span<const PackedGemm* const> all_gemms();
/// The fastest one for a format that isa() allows; Error unsupported, with the known formats, when there is none.
const PackedGemm& find_gemm(std::string_view format);

/// The whole product, rounding included, on kerf's threads: y is [tokens, row_end - row_begin] (y_stride floats apart),
/// x is [tokens, cols].
void packed_matmul(const PackedGemm&, const PackedMatrix&, int64_t row_begin, int64_t row_end, const float* x,
                   int64_t tokens, float* y, int64_t y_stride);

}  // namespace kerf
