// The sixteen unevenly spaced numbers of GGUF IQ4_NL (iq4_numbers.h).
#include "grids/iq4_numbers.h"
#include "grids/one_level_grid.h"

namespace kerf {

const Grid& grid_iq4() {
  static const OneLevelGrid grid("iq4", iq4_numbers());
  return grid;
}

}  // namespace kerf
