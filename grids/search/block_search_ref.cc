// The scale search of single levels in plain C++: its definition.
#include "grids/search/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/search/block_search_body.h"

namespace kerf {
const BlockSearch& block_search_ref() {
  static constexpr BlockSearch compiled{Isa::ref, search, encode};
  return compiled;
}
}  // namespace kerf
