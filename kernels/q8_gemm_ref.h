// The definition of products with GGUF block weights of zero-centred codes q and one F16 scale per 32 (Q8_0, Q4_0):
//   y[t, r] = sum over blocks b, in order, of float32(sum over k in b of q_w * q_a) * (d_w * d_a)
// with the inner sum in integers, d_w * d_a rounded to float32 (exact: 11 + 11 bits), and each product and each sum
// rounded to float32. A row of weights dequantizes to float32(q_w * d_w).
#pragma once

#include <cstring>

#include "kernels/gemm.h"
#include "kernels/q8_activations.h"

namespace kerf {

/// Block: kBytes, kZeroPoint, and `static int code(const std::byte* block, int64_t k)`, the q of weight k; every block
/// begins with its F16 scale.
template <class Block>
struct Q8GemmRef {
  static float scale(const std::byte* block) {
    uint16_t half;
    std::memcpy(&half, block, 2);
    return f16_to_f32(half);
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    round_to_q8_ref(w.cols, Block::kZeroPoint, x, out);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const int64_t row_bytes = q8_activation_bytes(w);
    for (int64_t t = 0; t < tokens; ++t) {
      const std::byte* a = activations + t * row_bytes;
      for (int64_t r = row_begin; r < row_end; ++r) {
        float sum = 0;
        for (int64_t b = 0; b < w.cols / kQ8Block; ++b) {
          const std::byte* block = w.codes + r * w.code_stride + b * Block::kBytes;
          int32_t isum = 0;
          for (int64_t k = 0; k < kQ8Block; ++k)
            isum += Block::code(block, k) * static_cast<int8_t>(a[b * kQ8Block + k]);
          float activation_scale;
          std::memcpy(&activation_scale, a + w.cols + b * 4, 4);
          sum += static_cast<float>(isum) * (scale(block) * activation_scale);
        }
        y[t * y_stride + (r - row_begin)] = sum;
      }
    }
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t k = 0; k < w.cols; ++k) {
      const std::byte* block = w.codes + row * w.code_stride + k / kQ8Block * Block::kBytes;
      out[k] = static_cast<float>(Block::code(block, k % kQ8Block)) * scale(block);
    }
  }
};

template <class Block>
constexpr PackedGemm q8_gemm_ref(std::string_view format) {
  using Gemm = Q8GemmRef<Block>;
  return {.format = format,
          .isa = Isa::ref,
          .activation_bytes = q8_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = q8_activation_values};
}

}  // namespace kerf
