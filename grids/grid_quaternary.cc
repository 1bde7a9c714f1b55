// -1, 0, 1, 2 with a scale: GGUF Q2_0.
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_quaternary() {
  static const OneLevelGrid grid("quaternary", LevelTable({-1, 0, 1, 2}));
  return grid;
}

}  // namespace kerf
