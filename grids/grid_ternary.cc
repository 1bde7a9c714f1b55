// -1, 0, 1 with a scale: GGUF TQ1_0 and TQ2_0.
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_ternary() {
  static const OneLevelGrid grid("ternary", LevelTable({-1, 0, 1}));
  return grid;
}

}  // namespace kerf
