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
///
/// Memory: 24 bytes times `limit` times the square root of the number of items (53 MB for 18,000 items): of the choices
/// after each item only every so many are kept, and best() makes those between them again. Time: items times options
/// times `limit`, and in best() as much again.
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
  // A choice among the first items that is worth its bytes; they rise, costs fall.
  using Front = std::vector<Point>;
  // How one of the choices after an item came about: from which choice before it, by which option.
  struct Step {
    uint32_t before = 0, option = 0;
  };
  Front next(const Front& before, const BudgetItem&, std::vector<Step>* steps) const;

  std::vector<BudgetItem> items_;
  size_t limit_, stride_ = 1;
  std::vector<Front> kept_;  // after 0, stride, 2 stride ... items
  Front last_;               // after all
};

}  // namespace kerf
