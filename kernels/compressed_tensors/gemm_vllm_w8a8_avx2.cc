// int8 x int8 on AVX2, which multiplies unsigned by signed bytes and adds pairs in 16 bits: |w| and a with the sign of
// w. A pair is at most 2 * 128 * 127 < 2^15, because activation codes stay within -127 ... 127.
#include "kernels/compressed_tensors/vllm_w8a8_body.h"
#include "kernels/compressed_tensors/w8_gemm_avx2.h"

namespace kerf {
namespace {

struct VllmAvx2 : Int8Avx2 {
  using Ints = __m256i;
  static constexpr int kRows = 2, kTokens = 4;
  using Int8Avx2::store;
  using Int8Avx2::sum;

  static Ints no_codes() { return _mm256_setzero_si256(); }
  static Ints to_codes(Vec v) {
    const Vec clamped = _mm256_min_ps(_mm256_max_ps(v, splat(-127)), splat(127));
    return _mm256_and_si256(_mm256_cvtps_epi32(clamped), _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_ORD_Q)));
  }
  static void store(Ints codes, std::byte* out) {
    const Ints words = _mm256_permute4x64_epi64(_mm256_packs_epi32(codes, codes), 0x08);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out),
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words)));
  }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static int32_t sum(Ints v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }

  // The weights from here to the end of the row, at most 32; zeros after them.
  static Ints weights_at(const std::byte* p, int64_t left) {
    if (left >= 32) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    alignas(32) std::byte buffer[32] = {};
    __builtin_memcpy(buffer, p, static_cast<uint64_t>(left));
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(buffer));
  }

  template <int R, int T>
  static void tile(const PackedMatrix& w, int64_t row, const Int8Activations& a, int64_t t, float* y,
                   int64_t y_stride) {
    Ints sums[R][T];
    for (auto& rows : sums)
      for (Ints& s : rows) s = _mm256_setzero_si256();
    const Ints ones = _mm256_set1_epi16(1);
    for (int64_t k = 0; k < w.cols; k += 32) {
      Ints weights[R], magnitudes[R];
      for (int i = 0; i < R; ++i) {
        weights[i] = weights_at(w.codes + (row + i) * w.code_stride + k, w.cols - k);
        magnitudes[i] = _mm256_abs_epi8(weights[i]);
      }
      for (int j = 0; j < T; ++j) {
        const Ints codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.codes(t + j) + k));
        for (int i = 0; i < R; ++i) {
          const Ints pairs = _mm256_maddubs_epi16(magnitudes[i], _mm256_sign_epi8(codes, weights[i]));
          sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    for (int j = 0; j < T; ++j)
      for (int i = 0; i < R; ++i) y[j * y_stride + i] = vllm_scaled(w, row + i, a.scale(t + j), sum(sums[i][j]));
  }
};

}  // namespace

const PackedGemm& gemm_vllm_w8a8_avx2() {
  static constexpr PackedGemm gemm = VllmW8a8<VllmAvx2>::plugin();
  return gemm;
}

}  // namespace kerf
