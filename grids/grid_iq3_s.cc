// The numbers of GGUF IQ3_S (codebook_grid.h).
#include "grids/codebook_grid.h"

namespace kerf {

const Grid& grid_iq3_s() {
  static const CodebookGrid grid("iq3_s", codebook_words("iq3_s", 4, 4, 32), 1.0f);
  return grid;
}

}  // namespace kerf
