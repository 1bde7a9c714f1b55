#include "grids/grid.h"

#include <string>

#include "core/error.h"

namespace kerf {

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
