// The definition of products with GGUF block weights (zero-centred codes q, one F16 scale per 32: Q8_0, Q4_0), down to
// the order of float32 sums, which is llama.cpp's: rounding the next activations is so sensitive to a last bit that a
// run with other sums ends as far from llama.cpp's as one without any rounding of activations.
//
// With s = d_w * d_a of a block (exact in float32: 11 + 11 bits), blocks in order, integer sums, and fma rounding once:
//   by lanes   acc[l] = fma(s, float32(sum of q_w q_a over k = 4 l .. 4 l + 3), acc[l]) for l = 0 .. 7;
//              y = the sum of acc by halves: a[i] = acc[i] + acc[i + 4], b[i] = a[i] + a[i + 2], y = b[0] + b[1]
//   by blocks  acc = fma(float32(sum of q_w q_a over the block), s, acc); y = acc
// Q8_0 goes by lanes (ggml-cpu/llamafile/sgemm.cpp, tinyBLAS_Q0_AVX; for one token arch/x86/quants.c, vec_dot). Q4_0
// goes by blocks when the matrix has a multiple of 8 rows, since llama.cpp then interleaves 8 of them at loading
// (repack.cpp, q4_0_8x8), and by lanes otherwise. So it is on every x86 CPU with AVX2 and without AMX. A row of
// weights dequantizes to float32(q_w * d_w).
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/q8_activations.h"

namespace kerf {

/// Block: kBytes, kZeroPoint, kCorrections and activation_bytes() (q8_activations.h), `static int code(const std::byte*
/// block, int64_t k)`, the q of weight k, and `static bool by_lanes(const PackedMatrix&)`; every block begins with its
/// F16 scale.
template <class Block>
struct Q8GemmRef {
  static float scale(const std::byte* block) {
    uint16_t half;
    std::memcpy(&half, block, 2);
    return f16_to_f32(half);
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    round_to_q8_ref(w.cols, Block::kZeroPoint, Block::kCorrections, x, out);
  }

  /// Of codes begin .. end - 1 of a block.
  static float product(const std::byte* block, const std::byte* codes, int64_t begin, int64_t end) {
    int32_t sum = 0;
    for (int64_t k = begin; k < end; ++k) sum += Block::code(block, k) * static_cast<int8_t>(codes[k]);
    return static_cast<float>(sum);
  }

  static float dot(const PackedMatrix& w, int64_t row, const std::byte* a) {
    constexpr int kLanes = 8, kPerLane = kQ8Block / kLanes;
    float acc[kLanes] = {};
    for (int64_t b = 0; b < w.cols / kQ8Block; ++b) {
      const std::byte* block = w.codes + row * w.code_stride + b * Block::kBytes;
      const std::byte* codes = a + b * kQ8Block;
      float activation_scale;
      std::memcpy(&activation_scale, a + w.cols + b * 4, 4);
      const float s = scale(block) * activation_scale;
      if (!Block::by_lanes(w)) {
        acc[0] = std::fma(product(block, codes, 0, kQ8Block), s, acc[0]);
        continue;
      }
      for (int l = 0; l < kLanes; ++l)
        acc[l] = std::fma(product(block, codes, l * kPerLane, (l + 1) * kPerLane), s, acc[l]);
    }
    if (!Block::by_lanes(w)) return acc[0];
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) acc[i] += acc[i + half];
    return acc[0];
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const int64_t row_bytes = Block::activation_bytes(w);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = row_begin; r < row_end; ++r)
        y[t * y_stride + (r - row_begin)] = dot(w, r, activations + t * row_bytes);
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
          .activation_bytes = Block::activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = q8_activation_values};
}

}  // namespace kerf
