// The fitter of the K types compiled for AVX-512.
#include "grids/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/kfitter_body.h"

namespace kerf {
const KFitter& kfitter_avx512() {
  static constexpr KFitter fitter{Isa::avx512, search};
  return fitter;
}
}  // namespace kerf
