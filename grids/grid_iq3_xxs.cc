// The numbers of GGUF IQ3_XXS (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq3_xxs() {
  static const CodebookGrid grid("iq3_xxs", codebook_words("iq3_xxs", 4, 8, 32), 1.0f / 4);
  return grid;
}

}  // namespace kerf
