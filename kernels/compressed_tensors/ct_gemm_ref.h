// The definition of products with compressed-tensors `pack-quantized` weights, symmetric, 4 or 8 bits (W4A16, W8A16),
// as runtimes compute them that dequantize to the model's dtype first (transformers) or on the fly (vLLM's group-scale
// kernels):
//   w = round to `compute` of float32(q * scale),   a = round to `compute` of x,
//   y[t, r] = sum over k, in order, of a * w in float32.
// Codes lie in little-endian 32-bit words, lowest bits first along the row, as u = q + 2^(bits - 1); a row of words is
// code_stride bytes, its last word padded.
#pragma once

#include <cstring>

#include "kernels/compressed_tensors/ct_activations.h"
#include "kernels/gemm.h"

namespace kerf {

template <int kBits>
struct CtGemmRef {
  static float weight(const PackedMatrix& w, int64_t r, int64_t k) {
    const int64_t bit = k * kBits;
    const int byte = std::to_integer<int>(w.codes[r * w.code_stride + bit / 8]);
    const int q = ((byte >> (bit % 8)) & ((1 << kBits) - 1)) - (1 << (kBits - 1));
    const std::byte* scales = w.scales + r * w.scale_stride;
    const int64_t g = k / w.group;
    float scale;
    if (w.scale_dtype == Dtype::f32) {
      std::memcpy(&scale, scales + g * 4, 4);
    } else {
      uint16_t half;
      std::memcpy(&half, scales + g * 2, 2);
      scale = w.scale_dtype == Dtype::f16 ? f16_to_f32(half) : bf16_to_f32(half);
    }
    return round_to(w.compute, static_cast<float>(q) * scale);
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    for (int64_t k = 0; k < w.cols; ++k) {
      const float a = round_to(w.compute, x[k]);
      std::memcpy(out + k * 4, &a, 4);
    }
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = row_begin; r < row_end; ++r) {
        float sum = 0;
        for (int64_t k = 0; k < w.cols; ++k) {
          float a;
          std::memcpy(&a, activations + (t * w.cols + k) * 4, 4);
          sum += a * weight(w, r, k);
        }
        y[t * y_stride + (r - row_begin)] = sum;
      }
    }
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t k = 0; k < w.cols; ++k) out[k] = weight(w, row, k);
  }
};

template <int kBits>
constexpr PackedGemm ct_gemm_ref(std::string_view format) {
  using Gemm = CtGemmRef<kBits>;
  return {.format = format,
          .isa = Isa::ref,
          .activation_bytes = ct_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = ct_activation_values};
}

}  // namespace kerf
