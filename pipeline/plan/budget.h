// What to spend bytes on: one option for each of several items, so that the sum of costs is smallest under a limit on
// the sum of bytes (the multiple-choice knapsack problem). Knows nothing of what the items are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kerf {

struct BudgetOption {
  uint64_t bytes = 0;
  double cost = 0;  // finite
};

/// The options of one item; at least one.
using BudgetItem = std::vector<BudgetOption>;

/// One option of each item.
struct BudgetChoice {
  std::vector<size_t> options;
  uint64_t bytes = 0;
  double cost = 0;
};

/// All choices that are worth their bytes: none other has both fewer bytes and a smaller cost.
///
/// Exact while there are at most `limit` of them after each item. Beyond that the bytes are cut into `limit` equal
/// steps, of each of which the cheapest choice goes on: what best() then gives up is less than one step of bytes per
/// item.
class Budget {
 public:
  /// Error internal for an item without options or a cost that is no number.
  explicit Budget(std::span<const BudgetItem>, size_t limit = size_t{1} << 14);

  /// The smallest sum of bytes that there is.
  uint64_t smallest() const;
  /// The cheapest choice of at most so many bytes; nullopt below smallest().
  std::optional<BudgetChoice> best(uint64_t bytes) const;
  /// Bytes and costs of the choices, from the smallest to the cheapest.
  struct Point {
    uint64_t bytes = 0;
    double cost = 0;
  };
  std::vector<Point> curve() const;

 private:
  // The first items' choices; each goes on from one of the items before.
  struct State {
    uint64_t bytes = 0;
    double cost = 0;
    uint32_t before = 0, option = 0;
  };
  std::vector<std::vector<State>> fronts_;  // after 0, 1, ... items; bytes rise, costs fall
};

}  // namespace kerf
