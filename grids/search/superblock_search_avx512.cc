// The scale search of the K types compiled for AVX-512.
#include "grids/search/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/search/superblock_search_body.h"

namespace kerf {
const SuperblockSearch& superblock_search_avx512() {
  static constexpr SuperblockSearch compiled{Isa::avx512, search};
  return compiled;
}
}  // namespace kerf
