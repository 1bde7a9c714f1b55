#include "grids/search/level_table.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace kerf {

LevelTable::LevelTable(std::vector<float> by_code) : number(std::move(by_code)), ascending(number) {
  std::sort(ascending.begin(), ascending.end());
  ascending.erase(std::unique(ascending.begin(), ascending.end()), ascending.end());
  for (size_t i = 0; i + 1 < ascending.size(); ++i) between.push_back((ascending[i] + ascending[i + 1]) / 2);
  for (const float x : ascending)
    code.push_back(static_cast<uint8_t>(std::find(number.begin(), number.end(), x) - number.begin()));
  for (const float x : number)
    position.push_back(
        static_cast<uint8_t>(std::lower_bound(ascending.begin(), ascending.end(), x) - ascending.begin()));

  // Cell c reaches from c - 1/2 to c + 1/2. The first one begins below the first limit, and the last one ends above the
  // last; a third of a cell to spare keeps limits off the borders of the level tables there are.
  const float first = between.front(), last = between.back();
  cells_per_unit = last > first ? (kCells - 2) / (last - first) : 1.0f;
  first_cell = 0.83f - first * cells_per_unit;
  const auto cell = [&](float x) { return static_cast<int>(std::nearbyint(x * cells_per_unit + first_cell)); };
  size_t i = 0;
  for (int c = 0; c < kCells; ++c) {
    lower[c] = ascending[i];
    limit[c] = i < between.size() ? between[i] : ascending.back();
    step[c] = i < between.size() ? ascending[i + 1] - ascending[i] : 0.0f;
    lower_code[c] = code[i];
    upper_code[c] = code[std::min(i + 1, between.size())];
    if (i == between.size() || cell(between[i]) > c) continue;
    if (++i < between.size() && cell(between[i]) == c)
      fail(ErrorKind::internal, "numbers of an level_table are too close");
  }
}

}  // namespace kerf
