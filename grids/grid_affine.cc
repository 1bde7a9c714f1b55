// Integers with a scale and an offset in the same type: value = scale * code + offset. GGUF Q4_1 and Q5_1, MLX.
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_affine() {
  static const OneLevelGrid grid("affine", std::nullopt);
  return grid;
}

}  // namespace kerf
