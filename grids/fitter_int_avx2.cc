// The integer fitter compiled for AVX2.
#include <immintrin.h>

namespace {
constexpr int kLanes = 8;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
inline Vec fma_of(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
// Pairs of rows, pairs of pairs, then the two halves of the registers.
inline void transpose(const float* from, long stride, Vec* to) {
  __m256 r[8], t[8], u[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * stride);
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

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx2() {
  static constexpr Fitter fitter{Isa::avx2, search, encode};
  return fitter;
}
}  // namespace kerf
