// What the texts of the vectorised searches ask of an instruction set (lanes.h), with AVX2.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace {

constexpr int kLanes = 8;
typedef float Vec __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));
typedef int16_t Pairs __attribute__((vector_size(32)));

inline Pairs times(Pairs a, int16_t k) { return (Pairs)_mm256_mulhrs_epi16((__m256i)a, _mm256_set1_epi16(k)); }
inline Ints dot(Ints s, Pairs a, Pairs b) { return s + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
inline Vec looked_up(const float* table, Ints i) { return (Vec)_mm256_i32gather_ps(table, (__m256i)(i & 31), 4); }
inline Ints gathered(const int32_t* table, Ints i) { return (Ints)_mm256_i32gather_epi32(table, (__m256i)i, 4); }
inline Vec root(Vec x) { return (Vec)_mm256_sqrt_ps((__m256)x); }
inline Vec min_of(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }
inline Vec max_of(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
inline void store_bytes(Ints a, uint8_t* to) {
  const __m256i low = _mm256_and_si256((__m256i)a, _mm256_set1_epi32(255));
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}

// Pairs of rows, pairs of pairs, then the two halves of the registers.
inline void transpose(const float* const* rows, int64_t j, Vec* to) {
  __m256 r[8], t[8], u[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(rows[i] + j);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int h = 0; h < 2; ++h) {
      const __m256d a = _mm256_castps_pd(t[i + h]), b = _mm256_castps_pd(t[i + h + 2]);
      u[i + 2 * h] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
      u[i + 2 * h + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    }
  for (int c = 0; c < 4; ++c) {
    to[c] = (Vec)_mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
    to[4 + c] = (Vec)_mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
  }
}

}  // namespace
