// The integer fitter compiled in plain C++.
namespace {
constexpr int kLanes = 4;
}

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_ref() {
  static constexpr Fitter fitter{Isa::ref, search, encode};
  return fitter;
}
}  // namespace kerf
