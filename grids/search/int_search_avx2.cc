// The integer search compiled for AVX2.
#include "grids/search/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/search/int_search_body.h"

namespace kerf {
const IntSearch& int_search_avx2() {
  static constexpr IntSearch compiled{Isa::avx2, search, encode, round};
  return compiled;
}
}  // namespace kerf
