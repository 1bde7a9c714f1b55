// The fitter of the K types in plain C++: its definition.
#include "grids/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/kfitter_body.h"

namespace kerf {
const KFitter& kfitter_ref() {
  static constexpr KFitter fitter{Isa::ref, search};
  return fitter;
}
}  // namespace kerf
