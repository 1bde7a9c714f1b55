// The numbers of GGUF IQ2_S (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq2_s() {
  static const CodebookGrid grid("iq2_s", codebook_words("iq2_s", 3, 8, 16), 1.0f / 8);
  return grid;
}

}  // namespace kerf
