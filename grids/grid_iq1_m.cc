// The numbers of GGUF IQ1_M (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq1_m() {
  static const CodebookGrid grid("iq1_m", codebook_words("iq1_m", 3, 8, 16, 3), 1.0f / 8);
  return grid;
}

}  // namespace kerf
