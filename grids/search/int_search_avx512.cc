// The integer search compiled for AVX-512.
#include "grids/search/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/search/int_search_body.h"

namespace kerf {
const IntSearch& int_search_avx512() {
  static constexpr IntSearch compiled{Isa::avx512, search, encode, round};
  return compiled;
}
}  // namespace kerf
