// Dynamic programming over the items with dominated choices dropped (Nemhauser and Ullmann, 1969): the front after an
// item is that before it, moved by each of its options, merged.
#include "pipeline/plan/budget.h"

#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/error.h"

namespace kerf {

Budget::Budget(std::span<const BudgetItem> items, size_t limit) {
  fronts_.push_back({State{}});
  for (const BudgetItem& item : items) {
    if (item.empty()) fail(ErrorKind::internal, "an item of the budget has no options");
    const std::vector<State>& before = fronts_.back();
    std::vector<State> all;
    all.reserve(before.size() * item.size());
    for (size_t o = 0; o < item.size(); ++o) {
      if (!std::isfinite(item[o].cost)) fail(ErrorKind::internal, "a cost of the budget is {}", item[o].cost);
      for (size_t s = 0; s < before.size(); ++s)
        all.push_back({checked_add(before[s].bytes, item[o].bytes, "the bytes of a budget"),
                       before[s].cost + item[o].cost, static_cast<uint32_t>(s), static_cast<uint32_t>(o)});
    }
    // Of equals the first option of the first choice: the same result everywhere.
    std::stable_sort(all.begin(), all.end(), [](const State& a, const State& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
    });
    const uint64_t span = all.back().bytes - all.front().bytes;
    std::vector<State> front;
    for (const State& s : all)
      if (front.empty() || s.cost < front.back().cost) front.push_back(s);
    if (front.size() > limit) {
      const uint64_t step = span / limit + 1, first = front.front().bytes;
      std::vector<State> thinned = {front.front()};  // the smallest of all must stay
      for (size_t i = 1; i < front.size(); ++i)
        if (i + 1 == front.size() || (front[i].bytes - first) / step != (front[i + 1].bytes - first) / step)
          thinned.push_back(front[i]);
      front = std::move(thinned);
    }
    fronts_.push_back(std::move(front));
  }
}

uint64_t Budget::smallest() const { return fronts_.back().front().bytes; }

std::optional<BudgetChoice> Budget::best(uint64_t bytes) const {
  const std::vector<State>& last = fronts_.back();
  const auto past =
      std::upper_bound(last.begin(), last.end(), bytes, [](uint64_t limit, const State& s) { return limit < s.bytes; });
  if (past == last.begin()) return std::nullopt;
  const State* state = &*std::prev(past);
  BudgetChoice choice{.options = std::vector<size_t>(fronts_.size() - 1), .bytes = state->bytes, .cost = state->cost};
  for (size_t item = choice.options.size(); item-- > 0;) {
    choice.options[item] = state->option;
    state = &fronts_[item][state->before];
  }
  return choice;
}

std::vector<Budget::Point> Budget::curve() const {
  std::vector<Point> points;
  for (const State& s : fronts_.back()) points.push_back({s.bytes, s.cost});
  return points;
}

}  // namespace kerf
