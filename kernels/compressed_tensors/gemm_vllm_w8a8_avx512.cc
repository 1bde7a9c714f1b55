// int8 x int8 on AVX-512 VNNI, whose products take one side unsigned: weights are taken as u = q + 128, and the 128
// times the sum of the activation's codes that this adds too much comes with the activations.
#include "kernels/compressed_tensors/vllm_w8a8_body.h"
#include "kernels/compressed_tensors/w8_gemm_avx512.h"

namespace kerf {
namespace {

struct VllmAvx512 : Int8Avx512 {
  using Ints = __m512i;
  static constexpr int kRows = 4,
                       kTokens = 4;  // 16 sums, 4 vectors of weights and one of activations: 21 of 32 registers
  using Int8Avx512::store;
  using Int8Avx512::sum;

  static Ints no_codes() { return _mm512_setzero_si512(); }
  static Ints to_codes(Vec v) {
    const Vec clamped = _mm512_min_ps(_mm512_max_ps(v, splat(-127)), splat(127));
    return _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), clamped);
  }
  static void store(Ints codes, std::byte* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(codes));
  }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static int32_t sum(Ints v) { return _mm512_reduce_add_epi32(v); }

  // Lane 4 i + j of the result is the sum of v[i][j].
  static Ints sums_of(const Ints (&v)[kRows][kTokens]) {
    Ints quarter[kRows];
    for (int i = 0; i < kRows; ++i) {  // pairs of vectors, then pairs of pairs, within 128 bits
      const Ints a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[i][0], v[i][1]), _mm512_unpackhi_epi32(v[i][0], v[i][1]));
      const Ints b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[i][2], v[i][3]), _mm512_unpackhi_epi32(v[i][2], v[i][3]));
      quarter[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    const Ints low = _mm512_add_epi32(_mm512_shuffle_i32x4(quarter[0], quarter[1], 0x88),
                                      _mm512_shuffle_i32x4(quarter[0], quarter[1], 0xdd));
    const Ints high = _mm512_add_epi32(_mm512_shuffle_i32x4(quarter[2], quarter[3], 0x88),
                                       _mm512_shuffle_i32x4(quarter[2], quarter[3], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
  }

  template <int R, int T>
  static void tile(const PackedMatrix& w, int64_t row, const Int8Activations& a, int64_t t, float* y,
                   int64_t y_stride) {
    Ints sums[kRows][kTokens];
    for (auto& rows : sums)
      for (Ints& s : rows) s = _mm512_setzero_si512();
    const Ints offset = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int64_t k = 0; k < w.cols; k += 64) {
      const int64_t left = w.cols - k;
      const __mmask64 used = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
      Ints weights[R];
      for (int i = 0; i < R; ++i)
        weights[i] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(used, w.codes + (row + i) * w.code_stride + k), offset);
      for (int j = 0; j < T; ++j) {
        const Ints codes = _mm512_loadu_si512(a.codes(t + j) + k);
        for (int i = 0; i < R; ++i) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], weights[i], codes);
      }
    }
    int32_t total[kRows][kTokens];
    _mm512_storeu_si512(total, sums_of(sums));
    for (int j = 0; j < T; ++j) {
      const int32_t excess = 128 * a.sum_of_codes(t + j);
      for (int i = 0; i < R; ++i) y[j * y_stride + i] = vllm_scaled(w, row + i, a.scale(t + j), total[i][j] - excess);
    }
  }
};

}  // namespace

const PackedGemm& gemm_vllm_w8a8_avx512() {
  static constexpr PackedGemm gemm = VllmW8a8<VllmAvx512>::plugin();
  return gemm;
}

}  // namespace kerf
