// Products with compressed-tensors weights on AVX-512. The 16 values that a 4-bit code can take in a group fit one
// vector: they are computed and rounded once per group, and each code is looked up in them. Few tokens: weights are
// dequantized in registers on their way to the sum, so that memory is read once and as packed. Many: see
// multiply_many_tokens.
#pragma once

#include "kernels/ct_codes_avx2.h"

namespace kerf {
namespace {

/// As rounded() of the AVX2 header.
template <Dtype kCompute>
__m512 rounded(__m512 v) {
  if constexpr (kCompute == Dtype::f16) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  } else if constexpr (kCompute == Dtype::bf16) {
    const __m512i bits = _mm512_castps_si512(v);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i half = _mm512_mask_blend_epi32(odd, _mm512_set1_epi32(0x7fff), _mm512_set1_epi32(0x8000));
    const __m512i nearest = _mm512_add_epi32(bits, half);
    return _mm512_castsi512_ps(_mm512_and_si512(nearest, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  } else {
    return v;
  }
}

/// What a group needs in order to dequantize: its scale (8 bits), or all 16 values.
template <int kBits, Dtype kCompute>
__m512 group_vector(float scale) {
  const __m512 scales = _mm512_set1_ps(scale);
  if constexpr (kBits == 8) return scales;
  const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  return rounded<kCompute>(_mm512_mul_ps(codes, scales));
}

/// The order in which sixteen_weights() yields them: 4-bit ones come 0, 8, 1, 9, ..., because a 64-bit broadcast leaves
/// the two words of codes in alternating lanes.
template <int kBits>
__m512 in_code_order(__m512 v) {
  if constexpr (kBits == 8) return v;
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), v);
}

/// The 16 weights that begin at this byte, in code order.
template <int kBits, Dtype kCompute>
__m512 sixteen_weights(const std::byte* p, __m512 group) {
  if constexpr (kBits == 4) {
    int64_t words;
    __builtin_memcpy(&words, p, 8);
    const __m512i shift = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    const __m512i u = _mm512_srlv_epi32(_mm512_set1_epi64(words), shift);
    return _mm512_permutexvar_ps(u, group);  // reads the lowest 4 bits of u
  } else {
    const __m512i u = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i q = _mm512_sub_epi32(u, _mm512_set1_epi32(kZeroPoint<kBits>));
    return rounded<kCompute>(_mm512_mul_ps(_mm512_cvtepi32_ps(q), group));
  }
}

/// What dequantize_part asks of an instruction set.
template <int kBits, Dtype kCompute>
struct CtAvx512 {
  static constexpr int kWidth = 16;
  using Group = __m512;
  static Group group(float scale) { return group_vector<kBits, kCompute>(scale); }
  static void store(const std::byte* p, Group group, float* out) {
    const __m512 weights = sixteen_weights<kBits, kCompute>(p, group);
    if constexpr (kBits == 8) {
      _mm512_storeu_ps(out, weights);
    } else {
      const __m512i back = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
      _mm512_storeu_ps(out, _mm512_permutexvar_ps(back, weights));
    }
  }
};

template <int kBits>
struct CtGemmAvx512 {
  // Up to here, dequantizing again for every token costs less than writing a panel of floats.
  static constexpr int64_t kFewTokens = kBits == 4 ? 4 : 2;
  static constexpr int kRowsAtOnce = 4, kWidth = 16;

  // Rows row .. row + R; groups are multiples of 16 weights.
  template <int R, Dtype kCompute>
  static void dot(const PackedMatrix& w, int64_t row, const float* a, float* y) {
    const std::byte* codes[R];
    __m512 sums[R];
    for (int i = 0; i < R; ++i) {
      codes[i] = w.codes + (row + i) * w.code_stride;
      sums[i] = _mm512_setzero_ps();
    }
    for (int64_t g = 0, k = 0; k < w.cols; ++g) {
      __m512 groups[R];
      for (int i = 0; i < R; ++i) groups[i] = group_vector<kBits, kCompute>(scale_at<kCompute>(w, row + i, g));
      for (const int64_t end = k + w.group; k < end; k += kWidth) {
        const __m512 factor = in_code_order<kBits>(_mm512_loadu_ps(a + k));
        for (int i = 0; i < R; ++i) {
          const __m512 weights = sixteen_weights<kBits, kCompute>(codes[i] + k * kBits / 8, groups[i]);
          sums[i] = _mm512_fmadd_ps(weights, factor, sums[i]);
        }
      }
    }
    for (int i = 0; i < R; ++i) y[i] = _mm512_reduce_add_ps(sums[i]);
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
        multiply_many_tokens<CtAvx512, kBits, kCompute>(w, row_begin, row_end, a, tokens, y, y_stride);
    });
  }

  static void dequantize_row(const PackedMatrix& w, int64_t row, float* out) {
    with_compute(w, [&]<Dtype kCompute>() { dequantize<CtAvx512, kBits, kCompute>(w, row, out); });
  }
};

template <int kBits>
constexpr PackedGemm ct_gemm_avx512(std::string_view format) {
  using Gemm = CtGemmAvx512<kBits>;
  return {.format = format,
          .isa = Isa::avx512,
          .activation_bytes = ct_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize_row,
          .activation_values = ct_activation_values};
}

}  // namespace
}  // namespace kerf
