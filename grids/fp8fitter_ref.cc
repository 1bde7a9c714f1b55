// The fp8 scale search compiled in plain C++.
namespace {
constexpr int kLanes = 4, kTogether = 1;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/fp8fitter_body.h"

namespace kerf {
const Fp8Fitter& fp8fitter_ref() {
  static constexpr Fp8Fitter fitter{Isa::ref, search, error, encode};
  return fitter;
}
}  // namespace kerf
