// The numbers that codes stand for where they are not evenly spaced: value = scale * number[code].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kerf {

struct LevelTable {
  /// `by_code` are different numbers, but for zeros of both signs, of which the first is written; between the ends of
  /// two gaps there is at least a 31st of the whole range (Error internal otherwise).
  explicit LevelTable(std::vector<float> by_code);

  std::vector<float> number;     // of each code
  std::vector<float> ascending;  // each number once
  std::vector<float> between;  // halfway between neighbours of `ascending`: what is above one goes to the upper number
  std::vector<uint8_t> code;   // of each number of `ascending`
  std::vector<uint8_t> position;  // of each code in `ascending`

  /// The nearest number by one look-up and one comparison: cells of equal width, of which each holds at most one entry
  /// of `between`. In cell clamp(round(x * cells_per_unit + first_cell), 0, kCells - 1) what is above `limit` goes to
  /// `lower` + `step`, the rest to `lower`.
  static constexpr int kCells = 32;
  float cells_per_unit, first_cell;
  alignas(64) float lower[kCells], limit[kCells], step[kCells];
  alignas(64) float lower_code[kCells], upper_code[kCells];  // of `lower` and `lower` + `step`

  uint32_t nearest(float x) const {
    size_t i = 0;
    for (const float limit : between) i += x > limit;
    return code[i];
  }
  /// The codes of the next smaller and next larger number, or the code itself at an end.
  uint32_t below(uint32_t c) const { return position[c] == 0 ? c : code[position[c] - 1u]; }
  uint32_t above(uint32_t c) const { return position[c] + 1u == code.size() ? c : code[position[c] + 1u]; }
};

}  // namespace kerf
