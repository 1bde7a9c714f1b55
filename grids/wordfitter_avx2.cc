// The fitter of codebooks compiled for AVX2.
#include "grids/lanes_avx2.h"
// After the lanes that it is written in.
#include "grids/wordfitter_body.h"

namespace kerf {
const WordFitter& wordfitter_avx2() {
  static constexpr WordFitter fitter{Isa::avx2, search, encode, round_words};
  return fitter;
}
}  // namespace kerf
