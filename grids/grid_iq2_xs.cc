// The numbers of GGUF IQ2_XS (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq2_xs() {
  static const CodebookGrid grid("iq2_xs", codebook_words("iq2_xs", 3, 8, 16), 1.0f / 8);
  return grid;
}

}  // namespace kerf
