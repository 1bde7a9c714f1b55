// The fp8 scale search compiled for AVX-512.
namespace {
constexpr int kLanes = 16, kTogether = 4;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/fp8fitter_body.h"

namespace kerf {
const Fp8Fitter& fp8fitter_avx512() {
  static constexpr Fp8Fitter fitter{Isa::avx512, search, error, encode};
  return fitter;
}
}  // namespace kerf
