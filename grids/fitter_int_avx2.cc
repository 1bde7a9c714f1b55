// The integer fitter compiled for AVX2.
#include "grids/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx2() {
  static constexpr Fitter fitter{Isa::avx2, search, encode};
  return fitter;
}
}  // namespace kerf
