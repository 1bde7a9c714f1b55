// The fitter of single levels compiled for AVX-512.
#include "grids/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/flatfitter_body.h"

namespace kerf {
const FlatFitter& flatfitter_avx512() {
  static constexpr FlatFitter fitter{Isa::avx512, search, encode};
  return fitter;
}
}  // namespace kerf
