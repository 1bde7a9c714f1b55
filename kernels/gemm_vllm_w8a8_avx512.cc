// int8 x int8 on AVX-512 VNNI, whose products take one side unsigned: weights are taken as u = q + 128, and the 128
// times the sum of the activation's codes that this adds too much comes with the activations. Integer sums are exact,
// so all kernels give the same bits.
#include "kernels/w8_gemm_avx512.h"

namespace kerf {
namespace {

constexpr int kRows = 4, kTokens = 4;  // 16 sums, 4 vectors of weights and one of activations: 21 of 32 registers

struct Activations {
  const std::byte* rows;
  int64_t padded;
  const std::byte* codes(int64_t t) const { return rows + t * (padded + 8); }
  float scale(int64_t t) const {
    float s;
    __builtin_memcpy(&s, codes(t) + padded, 4);
    return s;
  }
  int32_t excess(int64_t t) const {
    int32_t sum;
    __builtin_memcpy(&sum, codes(t) + padded + 4, 4);
    return 128 * sum;
  }
};

// Lane 4 i + j of the result is the sum of v[i][j].
__m512i sums_of(const __m512i (&v)[kRows][kTokens]) {
  __m512i quarter[kRows];
  for (int i = 0; i < kRows; ++i) {  // pairs of vectors, then pairs of pairs, within 128 bits
    const __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[i][0], v[i][1]), _mm512_unpackhi_epi32(v[i][0], v[i][1]));
    const __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[i][2], v[i][3]), _mm512_unpackhi_epi32(v[i][2], v[i][3]));
    quarter[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  }
  const __m512i low = _mm512_add_epi32(_mm512_shuffle_i32x4(quarter[0], quarter[1], 0x88),
                                       _mm512_shuffle_i32x4(quarter[0], quarter[1], 0xdd));
  const __m512i high = _mm512_add_epi32(_mm512_shuffle_i32x4(quarter[2], quarter[3], 0x88),
                                        _mm512_shuffle_i32x4(quarter[2], quarter[3], 0xdd));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
}

template <int R, int T>
void tile(const PackedMatrix& w, int64_t row, const Activations& a, int64_t t, float* y, int64_t y_stride) {
  __m512i sums[kRows][kTokens];
  for (auto& rows : sums)
    for (__m512i& s : rows) s = _mm512_setzero_si512();
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int64_t k = 0; k < w.cols; k += 64) {
    const int64_t left = w.cols - k;
    const __mmask64 used = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    __m512i weights[R];
    for (int i = 0; i < R; ++i)
      weights[i] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(used, w.codes + (row + i) * w.code_stride + k), offset);
    for (int j = 0; j < T; ++j) {
      const __m512i codes = _mm512_loadu_si512(a.codes(t + j) + k);
      for (int i = 0; i < R; ++i) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], weights[i], codes);
    }
  }
  int32_t total[kRows][kTokens];
  _mm512_storeu_si512(total, sums_of(sums));
  for (int j = 0; j < T; ++j) {
    const float scale = a.scale(t + j);
    const int32_t excess = a.excess(t + j);
    for (int i = 0; i < R; ++i)
      y[j * y_stride + i] =
          scale * (scale_at<Dtype::f32>(w, (row + i) / w.scale_rows, 0) * static_cast<float>(total[i][j] - excess));
  }
}

template <int R>
void rows(const PackedMatrix& w, int64_t row, const Activations& a, int64_t tokens, float* y, int64_t y_stride) {
  int64_t t = 0;
  for (; t + kTokens <= tokens; t += kTokens) tile<R, kTokens>(w, row, a, t, y + t * y_stride, y_stride);
  for (; t < tokens; ++t) tile<R, 1>(w, row, a, t, y + t * y_stride, y_stride);
}

void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations, int64_t tokens,
              float* y, int64_t y_stride) {
  const Activations a{activations, (w.cols + 63) / 64 * 64};
  int64_t r = row_begin;
  for (; r + kRows <= row_end; r += kRows) rows<kRows>(w, r, a, tokens, y + (r - row_begin), y_stride);
  for (; r < row_end; ++r) rows<1>(w, r, a, tokens, y + (r - row_begin), y_stride);
}

template <Dtype kCompute>
void round_row(const PackedMatrix& w, const float* x, std::byte* out) {
  using Ops = Int8Avx512;
  const int64_t padded = (w.cols + 63) / 64 * 64;
  __m512i most = Ops::no_magnitude();
  const auto input = [&](int64_t k) {
    return Ops::rounded_input<kCompute>(Ops::load(x + k, smaller(w.cols - k, Ops::kWidth)));
  };
  for (int64_t k = 0; k < w.cols; k += Ops::kWidth) most = Ops::larger(most, input(k));
  const float absmax = Ops::largest(most);
  const bool finite = absmax <= 0x1.fffffep127f;
  const float scale = finite ? absmax / 127.0f : __builtin_nanf("");
  const __m512 inverse = Ops::splat(!finite || absmax == 0 ? 0 : 127.0f / absmax);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t k = 0; k < padded; k += Ops::kWidth) {
    __m512i codes = _mm512_setzero_si512();
    if (finite && k < w.cols) {
      const __m512 v = input(k) * inverse;
      const __m512 clamped = _mm512_min_ps(_mm512_max_ps(v, Ops::splat(-127)), Ops::splat(127));
      codes = _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), clamped);
    }
    sum = _mm512_add_epi32(sum, codes);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + k), _mm512_cvtepi32_epi8(codes));
  }
  const int32_t total = _mm512_reduce_add_epi32(sum);
  __builtin_memcpy(out + padded, &scale, 4);
  __builtin_memcpy(out + padded + 4, &total, 4);
}

void round(const PackedMatrix& w, const float* x, std::byte* out) {
  with_compute(w, [&]<Dtype kCompute>() { round_row<kCompute>(w, x, out); });
}

}  // namespace

const PackedGemm& gemm_vllm_w8a8_avx512() {
  static constexpr PackedGemm gemm = {.format = "vllm-w8a8",
                                      .isa = Isa::avx512,
                                      .activation_bytes = w8a8_activation_bytes,
                                      .round_activations = round,
                                      .multiply = multiply,
                                      .dequantize = W8Gemm<Int8Avx512, ActivationRule::vllm>::dequantize,
                                      .activation_values = w8a8_activation_values};
  return gemm;
}

}  // namespace kerf
