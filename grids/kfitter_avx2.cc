// The fitter of the K types compiled for AVX2.
#include "grids/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/kfitter_body.h"

namespace kerf {
const KFitter& kfitter_avx2() {
  static constexpr KFitter fitter{Isa::avx2, search};
  return fitter;
}
}  // namespace kerf
