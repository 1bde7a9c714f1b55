// The scale search of the K types compiled for AVX2.
#include "grids/search/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/search/superblock_search_body.h"

namespace kerf {
const SuperblockSearch& superblock_search_avx2() {
  static constexpr SuperblockSearch compiled{Isa::avx2, search};
  return compiled;
}
}  // namespace kerf
