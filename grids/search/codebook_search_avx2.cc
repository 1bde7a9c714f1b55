// The scale search of codebooks compiled for AVX2.
#include "grids/search/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/search/codebook_search_body.h"

namespace kerf {
const CodebookSearch& codebook_search_avx2() {
  static constexpr CodebookSearch compiled{Isa::avx2, search, encode, round_words};
  return compiled;
}
}  // namespace kerf
