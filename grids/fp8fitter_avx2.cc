// The fp8 scale search compiled for AVX2.
namespace {
constexpr int kLanes = 8, kTogether = 2;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/fp8fitter_body.h"

namespace kerf {
const Fp8Fitter& fp8fitter_avx2() {
  static constexpr Fp8Fitter fitter{Isa::avx2, search, error, encode};
  return fitter;
}
}  // namespace kerf
