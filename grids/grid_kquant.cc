// Evenly spaced integers whose scales stand in two levels: the K types of GGUF.
#include "grids/two_level_grid.h"

namespace kerf {

const Grid& grid_kquant() {
  static const TwoLevelGrid grid("kquant", std::nullopt);
  return grid;
}

}  // namespace kerf
