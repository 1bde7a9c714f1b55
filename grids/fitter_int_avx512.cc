// The integer fitter compiled for AVX-512.
#include <immintrin.h>

namespace {
constexpr int kLanes = 16;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
inline Vec fma_of(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
}  // namespace

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx512() {
  static constexpr Fitter fitter{Isa::avx512, search, encode};
  return fitter;
}
}  // namespace kerf
