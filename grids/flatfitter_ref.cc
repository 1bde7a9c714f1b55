// The fitter of single levels in plain C++: its definition.
#include "grids/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/flatfitter_body.h"

namespace kerf {
const FlatFitter& flatfitter_ref() {
  static constexpr FlatFitter fitter{Isa::ref, search, encode};
  return fitter;
}
}  // namespace kerf
