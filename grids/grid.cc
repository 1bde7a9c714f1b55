#include "grids/grid.h"

#include <string>

#include "core/error.h"

namespace kerf {

void Grid::round(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
                 float* values) const {
  for (int64_t i = 0; i < n; ++i) {
    const Effective e{scale[i], offset[i]};
    const uint32_t code = nearest(s, e, x[i]);
    codes[i] = static_cast<uint8_t>(code);
    values[i] = value(s, e, code);
  }
}

int64_t own_block(const Scheme& s, int64_t cols) {
  const Block& block = s.levels.front().block;
  for (const Level& level : s.levels)
    if (level.block.rows != 1 || level.block != block) return 0;
  return block.cols == 0 ? cols : block.cols;
}

const Grid& find_grid(std::string_view name) {
  std::string known;
  for (const Grid* g : all_grids()) {
    if (g->name() == name) return *g;
    known += known.empty() ? "" : ", ";
    known += g->name();
  }
  fail(ErrorKind::usage, "there is no grid '{}'; the grids are: {}", name, known);
}

}  // namespace kerf
