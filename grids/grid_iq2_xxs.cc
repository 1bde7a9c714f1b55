// The numbers of GGUF IQ2_XXS (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq2_xxs() {
  static const CodebookGrid grid("iq2_xxs", codebook_words("iq2_xxs", 3, 8, 32), 1.0f / 8);
  return grid;
}

}  // namespace kerf
