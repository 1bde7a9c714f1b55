// The fitter of single levels compiled for AVX2.
#include "grids/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/flatfitter_body.h"

namespace kerf {
const FlatFitter& flatfitter_avx2() {
  static constexpr FlatFitter fitter{Isa::avx2, search, encode};
  return fitter;
}
}  // namespace kerf
