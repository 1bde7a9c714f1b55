// The scale search of single levels compiled for AVX2.
#include "grids/search/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/search/block_search_body.h"

namespace kerf {
const BlockSearch& block_search_avx2() {
  static constexpr BlockSearch compiled{Isa::avx2, search, encode};
  return compiled;
}
}  // namespace kerf
