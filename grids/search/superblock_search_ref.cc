// The scale search of the K types in plain C++: its definition.
#include "grids/search/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/search/superblock_search_body.h"

namespace kerf {
const SuperblockSearch& superblock_search_ref() {
  static constexpr SuperblockSearch compiled{Isa::ref, search};
  return compiled;
}
}  // namespace kerf
