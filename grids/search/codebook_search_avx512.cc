// The scale search of codebooks compiled for AVX-512.
#include "grids/search/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/search/codebook_search_body.h"

namespace kerf {
const CodebookSearch& codebook_search_avx512() {
  static constexpr CodebookSearch compiled{Isa::avx512, search, encode, round_words};
  return compiled;
}
}  // namespace kerf
