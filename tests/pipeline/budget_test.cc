#include "pipeline/plan/budget.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "core/error.h"

namespace kerf {
namespace {

std::vector<BudgetItem> random_items(size_t count, size_t options, uint64_t most_bytes, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<BudgetItem> items(count);
  for (BudgetItem& item : items)
    for (size_t o = 0; o < options; ++o)
      item.push_back({rng() % most_bytes, static_cast<double>(rng() % 1000) / 8});  // eighths add up exactly
  return items;
}

// Every choice there is, by counting.
double best_by_exhaustion(const std::vector<BudgetItem>& items, uint64_t limit) {
  std::vector<size_t> at(items.size(), 0);
  double best = std::numeric_limits<double>::infinity();
  for (;;) {
    uint64_t bytes = 0;
    double cost = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      bytes += items[i][at[i]].bytes;
      cost += items[i][at[i]].cost;
    }
    if (bytes <= limit) best = std::min(best, cost);
    size_t i = 0;
    while (i < items.size() && ++at[i] == items[i].size()) at[i++] = 0;
    if (i == items.size()) return best;
  }
}

TEST(Budget, FindsWhatTryingEveryChoiceFinds) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<BudgetItem> items = random_items(6, 4, seed % 2 ? 1000 : 20, seed);
    const Budget budget(items);
    for (uint64_t limit = budget.smallest(); limit < budget.smallest() + 3000; limit += 97) {
      const auto choice = budget.best(limit);
      ASSERT_TRUE(choice);
      EXPECT_EQ(choice->cost, best_by_exhaustion(items, limit)) << seed << " " << limit;
      uint64_t bytes = 0;
      double cost = 0;
      for (size_t i = 0; i < items.size(); ++i) {
        bytes += items[i][choice->options[i]].bytes;
        cost += items[i][choice->options[i]].cost;
      }
      EXPECT_EQ(bytes, choice->bytes);
      EXPECT_EQ(cost, choice->cost);
      EXPECT_LE(bytes, limit);
    }
    EXPECT_FALSE(budget.best(budget.smallest() - 1)) << "below the smallest there is none";
  }
}

TEST(Budget, HasACurveThatFallsFromTheSmallestToTheCheapest) {
  const std::vector<BudgetItem> items = random_items(20, 5, 1000, 7);
  const auto curve = Budget(items).curve();
  uint64_t smallest = 0;
  double cheapest = 0;
  for (const BudgetItem& item : items) {
    uint64_t bytes = item[0].bytes;
    double cost = item[0].cost;
    for (const BudgetOption& o : item) {
      bytes = std::min(bytes, o.bytes);
      cost = std::min(cost, o.cost);
    }
    smallest += bytes;
    cheapest += cost;
  }
  EXPECT_EQ(curve.front().bytes, smallest);
  EXPECT_EQ(curve.back().cost, cheapest);
  for (size_t i = 1; i < curve.size(); ++i) {
    EXPECT_GT(curve[i].bytes, curve[i - 1].bytes);
    EXPECT_LT(curve[i].cost, curve[i - 1].cost);
  }
}

TEST(Budget, LosesLittleWhenItKeepsFewChoices) {
  const std::vector<BudgetItem> items = random_items(60, 6, 100'000, 3);
  const Budget exact(items, size_t{1} << 20), thinned(items, 2000);
  EXPECT_EQ(thinned.smallest(), exact.smallest());
  for (uint64_t extra = 0; extra < 3'000'000; extra += 100'000) {
    const uint64_t limit = exact.smallest() + extra;
    EXPECT_GE(thinned.best(limit)->cost, exact.best(limit)->cost);
    EXPECT_LE(thinned.best(limit)->bytes, limit);
    // A step is at most 6,000,000 / 2,000 bytes; 60 of them are 180,000.
    if (extra < 180'000) continue;
    EXPECT_LE(thinned.best(limit)->cost, exact.best(limit - 180'000)->cost);
  }
}

TEST(Budget, FindsItsWayBackThroughManyItems) {
  // The options of a choice are found part by part; parts of one, of several, and a last one that is not full.
  for (const size_t count : {1u, 2u, 3u, 5u, 16u, 17u, 300u}) {
    const std::vector<BudgetItem> items = random_items(count, 4, 1000, static_cast<unsigned>(count));
    const Budget budget(items, 500);
    for (const Budget::Point& p : budget.curve()) {
      const auto choice = budget.best(p.bytes);
      ASSERT_TRUE(choice);
      uint64_t bytes = 0;
      double cost = 0;
      for (size_t i = 0; i < count; ++i) {
        bytes += items[i][choice->options[i]].bytes;
        cost += items[i][choice->options[i]].cost;
      }
      ASSERT_EQ(bytes, p.bytes) << count;
      ASSERT_EQ(cost, p.cost) << count;
      if (count == 300) break;  // each takes a while
    }
  }
}

TEST(Budget, RefusesItemsThatAreNone) {
  EXPECT_THROW(Budget(std::vector<BudgetItem>{{}}), Error);
  EXPECT_THROW(Budget(std::vector<BudgetItem>{{{1, std::numeric_limits<double>::quiet_NaN()}}}), Error);
  EXPECT_EQ(Budget({}).best(0)->bytes, 0u);
}

}  // namespace
}  // namespace kerf
