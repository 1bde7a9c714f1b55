// The fitter of codebooks compiled for AVX-512.
#include "grids/lanes_avx512.h"
// After the lanes that it is written in.
#include "grids/wordfitter_body.h"

namespace kerf {
const WordFitter& wordfitter_avx512() {
  static constexpr WordFitter fitter{Isa::avx512, search, encode, round_words};
  return fitter;
}
}  // namespace kerf
