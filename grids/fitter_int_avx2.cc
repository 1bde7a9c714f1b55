// The integer fitter compiled for AVX2.
#include <immintrin.h>

namespace {
constexpr int kLanes = 8;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
inline Vec fma_of(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
}  // namespace

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx2() {
  static constexpr Fitter fitter{Isa::avx2, search, encode};
  return fitter;
}
}  // namespace kerf
