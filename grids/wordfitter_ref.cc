// The fitter of codebooks in plain C++: its definition.
#include "grids/lanes_ref.h"
// After the lanes that it is written in.
#include "grids/wordfitter_body.h"

namespace kerf {
const WordFitter& wordfitter_ref() {
  static constexpr WordFitter fitter{Isa::ref, search, encode, round_words};
  return fitter;
}
}  // namespace kerf
