// The integer fitter compiled for AVX-512.
#include "grids/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_avx512() {
  static constexpr Fitter fitter{Isa::avx512, search, encode};
  return fitter;
}
}  // namespace kerf
