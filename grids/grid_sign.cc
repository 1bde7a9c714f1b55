// -1 or 1 with a scale: GGUF Q1_0.
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_sign() {
  static const OneLevelGrid grid("sign", LevelTable({-1, 1}));
  return grid;
}

}  // namespace kerf
