// The scale search of single levels compiled for AVX-512.
#include "grids/search/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/search/block_search_body.h"

namespace kerf {
const BlockSearch& block_search_avx512() {
  static constexpr BlockSearch compiled{Isa::avx512, search, encode};
  return compiled;
}
}  // namespace kerf
