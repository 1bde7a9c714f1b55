// 4-bit floats (OCP E2M1) with a scale for 16 or 32: GGUF MXFP4 and NVFP4. Code 8 is -0. GGUF's tables hold twice the
// numbers and its scales count half; here numbers and scales are those of the OCP Microscaling Formats (MX)
// specification 1.0.
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_e2m1() {
  static const OneLevelGrid grid("e2m1",
                                 LevelTable({0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6}));
  return grid;
}

}  // namespace kerf
