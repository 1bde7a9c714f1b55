// int8 x int8 on AVX2, which multiplies unsigned by signed bytes and adds pairs in 16 bits: |w| and a with the sign of
// w. A pair is at most 2 * 128 * 127 < 2^15, because activation codes stay within -127 ... 127. Integer sums are exact,
// so all kernels give the same bits.
#include "kernels/w8_gemm_avx2.h"

namespace kerf {
namespace {

constexpr int kRows = 2, kTokens = 4;

int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// The weights from here to the end of the row, at most 32; zeros after them.
__m256i weights_at(const std::byte* p, int64_t left) {
  if (left >= 32) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  alignas(32) std::byte buffer[32] = {};
  __builtin_memcpy(buffer, p, static_cast<uint64_t>(left));
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(buffer));
}

template <int R, int T>
void tile(const PackedMatrix& w, int64_t row, const std::byte* a, int64_t padded, float* y, int64_t y_stride) {
  const int64_t stride = padded + 8;
  __m256i sums[R][T];
  for (auto& rows : sums)
    for (__m256i& s : rows) s = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t k = 0; k < w.cols; k += 32) {
    __m256i weights[R], magnitudes[R];
    for (int i = 0; i < R; ++i) {
      weights[i] = weights_at(w.codes + (row + i) * w.code_stride + k, w.cols - k);
      magnitudes[i] = _mm256_abs_epi8(weights[i]);
    }
    for (int j = 0; j < T; ++j) {
      const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + j * stride + k));
      for (int i = 0; i < R; ++i) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitudes[i], _mm256_sign_epi8(codes, weights[i]));
        sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
  for (int j = 0; j < T; ++j) {
    float scale;
    __builtin_memcpy(&scale, a + j * stride + padded, 4);
    for (int i = 0; i < R; ++i)
      y[j * y_stride + i] =
          scale * (scale_at<Dtype::f32>(w, (row + i) / w.scale_rows, 0) * static_cast<float>(sum_of(sums[i][j])));
  }
}

template <int R>
void rows(const PackedMatrix& w, int64_t row, const std::byte* a, int64_t tokens, float* y, int64_t y_stride) {
  const int64_t padded = (w.cols + 63) / 64 * 64, stride = padded + 8;
  int64_t t = 0;
  for (; t + kTokens <= tokens; t += kTokens)
    tile<R, kTokens>(w, row, a + t * stride, padded, y + t * y_stride, y_stride);
  for (; t < tokens; ++t) tile<R, 1>(w, row, a + t * stride, padded, y + t * y_stride, y_stride);
}

void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations, int64_t tokens,
              float* y, int64_t y_stride) {
  int64_t r = row_begin;
  for (; r + kRows <= row_end; r += kRows) rows<kRows>(w, r, activations, tokens, y + (r - row_begin), y_stride);
  for (; r < row_end; ++r) rows<1>(w, r, activations, tokens, y + (r - row_begin), y_stride);
}

template <Dtype kCompute>
void round_row(const PackedMatrix& w, const float* x, std::byte* out) {
  using Ops = Int8Avx2;
  const int64_t padded = (w.cols + 63) / 64 * 64;
  __m256i most = Ops::no_magnitude();
  const auto input = [&](int64_t k) {
    return Ops::rounded_input<kCompute>(Ops::load(x + k, smaller(w.cols - k, Ops::kWidth)));
  };
  for (int64_t k = 0; k < w.cols; k += Ops::kWidth) most = Ops::larger(most, input(k));
  const float absmax = Ops::largest(most);
  const bool finite = absmax <= 0x1.fffffep127f;
  const float scale = finite ? absmax / 127.0f : __builtin_nanf("");
  const __m256 inverse = Ops::splat(!finite || absmax == 0 ? 0 : 127.0f / absmax);
  __m256i sum = _mm256_setzero_si256();
  for (int64_t k = 0; k < padded; k += Ops::kWidth) {
    __m256i codes = _mm256_setzero_si256();
    if (finite && k < w.cols) {
      const __m256 v = input(k) * inverse;
      const __m256 clamped = _mm256_min_ps(_mm256_max_ps(v, Ops::splat(-127)), Ops::splat(127));
      codes = _mm256_and_si256(_mm256_cvtps_epi32(clamped), _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_ORD_Q)));
    }
    sum = _mm256_add_epi32(sum, codes);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(codes, codes), 0x08);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + k),
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words)));
  }
  const int32_t total = sum_of(sum);
  __builtin_memcpy(out + padded, &scale, 4);
  __builtin_memcpy(out + padded + 4, &total, 4);
}

void round(const PackedMatrix& w, const float* x, std::byte* out) {
  with_compute(w, [&]<Dtype kCompute>() { round_row<kCompute>(w, x, out); });
}

}  // namespace

const PackedGemm& gemm_vllm_w8a8_avx2() {
  static constexpr PackedGemm gemm = {.format = "vllm-w8a8",
                                      .isa = Isa::avx2,
                                      .activation_bytes = w8a8_activation_bytes,
                                      .round_activations = round,
                                      .multiply = multiply,
                                      .dequantize = W8Gemm<Int8Avx2, ActivationRule::vllm>::dequantize,
                                      .activation_values = w8a8_activation_values};
  return gemm;
}

}  // namespace kerf
