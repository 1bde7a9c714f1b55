// The numbers of IQ4_NL under scales in two levels: GGUF IQ4_XS.
#include "grids/iq4_numbers.h"
#include "grids/two_level_grid.h"

namespace kerf {

const Grid& grid_kquant_iq4() {
  static const TwoLevelGrid grid("kquant-iq4", iq4_numbers());
  return grid;
}

}  // namespace kerf
