// Products with compressed-tensors weights on AVX2. Few tokens: weights are dequantized in registers on their way to
// the sum, so that memory is read once and as packed. Many: see multiply_many_tokens.
#pragma once

#include "kernels/ct_codes_avx2.h"

namespace kerf {
namespace {

template <int kBits>
struct CtGemmAvx2 {
  // Up to here, dequantizing again for every token costs less than writing a panel of floats.
  static constexpr int64_t kFewTokens = 3;
  static constexpr int kRowsAtOnce = kBits == 4 ? 2 : 4, kWidth = 8;  // the 16 values of a group are two registers

  static float sum_of(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
  }

  // Rows row .. row + R; groups are multiples of 8 weights.
  template <int R, Dtype kCompute>
  static void dot(const PackedMatrix& w, int64_t row, const float* a, float* y) {
    const std::byte* codes[R];
    __m256 sums[R];
    for (int i = 0; i < R; ++i) {
      codes[i] = w.codes + (row + i) * w.code_stride;
      sums[i] = _mm256_setzero_ps();
    }
    for (int64_t g = 0, k = 0; k < w.cols; ++g) {
      GroupAvx2 groups[R];
      for (int i = 0; i < R; ++i) groups[i] = group_of<kBits, kCompute>(scale_at<kCompute>(w, row + i, g));
      for (const int64_t end = k + w.group; k < end; k += kWidth) {
        const __m256 factor = _mm256_loadu_ps(a + k);
        for (int i = 0; i < R; ++i) {
          const __m256 weights = eight_weights<kBits, kCompute>(codes[i] + k * kBits / 8, groups[i]);
          sums[i] = _mm256_fmadd_ps(weights, factor, sums[i]);
        }
      }
    }
    for (int i = 0; i < R; ++i) y[i] = sum_of(sums[i]);
  }

  template <Dtype kCompute>
  static void few_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* a, int64_t tokens,
                         float* y, int64_t y_stride) {
    int64_t r = row_begin;
    for (; r + kRowsAtOnce <= row_end; r += kRowsAtOnce)
      for (int64_t t = 0; t < tokens; ++t)
        dot<kRowsAtOnce, kCompute>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
    for (; r < row_end; ++r)
      for (int64_t t = 0; t < tokens; ++t) dot<1, kCompute>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    with_compute(w, [&]<Dtype kCompute>() { round_activations<kCompute>(w, x, out); });
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const auto* a = reinterpret_cast<const float*>(activations);
    with_compute(w, [&]<Dtype kCompute>() {
      if (tokens <= kFewTokens && w.group % kWidth == 0)
        few_tokens<kCompute>(w, row_begin, row_end, a, tokens, y, y_stride);
      else
        multiply_many_tokens<CtAvx2, kBits, kCompute>(w, row_begin, row_end, a, tokens, y, y_stride);
    });
  }

  static void dequantize_row(const PackedMatrix& w, int64_t row, float* out) {
    with_compute(w, [&]<Dtype kCompute>() { dequantize<CtAvx2, kBits, kCompute>(w, row, out); });
  }
};

template <int kBits>
constexpr PackedGemm ct_gemm_avx2(std::string_view format) {
  using Gemm = CtGemmAvx2<kBits>;
  return {.format = format,
          .isa = Isa::avx2,
          .activation_bytes = ct_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize_row,
          .activation_values = ct_activation_values};
}

}  // namespace
}  // namespace kerf
