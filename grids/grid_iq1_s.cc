// The numbers of GGUF IQ1_S (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq1_s() {
  static const CodebookGrid grid("iq1_s", codebook_words("iq1_s", 2, 8, 32, 4), 1.0f / 8);
  return grid;
}

}  // namespace kerf
