// The integer fitter in plain C++: its definition.
#include "grids/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_ref() {
  static constexpr Fitter fitter{Isa::ref, search, encode};
  return fitter;
}
}  // namespace kerf
