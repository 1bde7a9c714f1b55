// The integer search in plain C++: its definition.
#include "grids/search/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/search/int_search_body.h"

namespace kerf {
const IntSearch& int_search_ref() {
  static constexpr IntSearch compiled{Isa::ref, search, encode, round};
  return compiled;
}
}  // namespace kerf
