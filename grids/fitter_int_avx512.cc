// The integer fitter compiled for AVX-512.
namespace {
constexpr int kLanes = 16;
}

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx512() {
  static constexpr Fitter fitter{Isa::avx512, search, encode};
  return fitter;
}
}  // namespace kerf
