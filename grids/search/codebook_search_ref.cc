// The scale search of codebooks in plain C++: its definition.
#include "grids/search/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/search/codebook_search_body.h"

namespace kerf {
const CodebookSearch& codebook_search_ref() {
  static constexpr CodebookSearch compiled{Isa::ref, search, encode, round_words};
  return compiled;
}
}  // namespace kerf
