// What the texts of the vectorised searches ask of an instruction set (lanes.h), with AVX-512.
#pragma once
#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12's false alarms inside <immintrin.h> (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

namespace {

constexpr int kLanes = 16;
typedef float Vec __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef int16_t Pairs __attribute__((vector_size(64)));

inline Pairs times(Pairs a, int16_t k) { return (Pairs)_mm512_mulhrs_epi16((__m512i)a, _mm512_set1_epi16(k)); }
inline Ints dot(Ints s, Pairs a, Pairs b) { return (Ints)_mm512_dpwssd_epi32((__m512i)s, (__m512i)a, (__m512i)b); }
inline Vec looked_up(const float* table, Ints i) {
  return (Vec)_mm512_permutex2var_ps(_mm512_load_ps(table), (__m512i)i, _mm512_load_ps(table + 16));
}
inline Ints gathered(const int32_t* table, Ints i) { return (Ints)_mm512_i32gather_epi32((__m512i)i, table, 4); }
inline Vec root(Vec x) { return (Vec)_mm512_sqrt_ps((__m512)x); }
inline Vec min_of(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }
inline Vec max_of(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
inline void store_bytes(Ints a, uint8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8((__m512i)a));
}

// Pairs of rows, pairs of pairs, then the four quarters of the registers.
inline void transpose(const float* const* rows, int64_t j, Vec* to) {
  __m512 r[16], t[16], u[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(rows[i] + j);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int h = 0; h < 2; ++h) {
      const __m512d a = _mm512_castps_pd(t[i + h]), b = _mm512_castps_pd(t[i + h + 2]);
      u[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      u[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  for (int c = 0; c < 4; ++c) {
    const __m512 even_low = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88),
                 odd_low = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd);
    const __m512 even_high = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
    const __m512 odd_high = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd);
    to[c] = (Vec)_mm512_shuffle_f32x4(even_low, even_high, 0x88);
    to[4 + c] = (Vec)_mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
    to[8 + c] = (Vec)_mm512_shuffle_f32x4(even_low, even_high, 0xdd);
    to[12 + c] = (Vec)_mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
  }
}

}  // namespace
