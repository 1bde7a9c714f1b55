// Dynamic programming over the items with dominated choices dropped (Nemhauser and Ullmann, 1969): the front after an
// item is that before it, moved by each of its options, merged. Which option led where is not kept for all items, but
// found again part by part, from the last to the first (as Hirschberg does it for sequences).
#include "pipeline/plan/budget.h"

#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/error.h"

namespace kerf {

Budget::Front Budget::next(const Front& before, const BudgetItem& item, std::vector<Step>* steps) const {
  struct State {
    Point sum;
    Step step;
  };
  std::vector<State> all;
  all.reserve(before.size() * item.size());
  for (size_t o = 0; o < item.size(); ++o)
    for (size_t s = 0; s < before.size(); ++s)
      all.push_back(
          {{checked_add(before[s].bytes, item[o].bytes, "the bytes of a budget"), before[s].cost + item[o].cost},
           {static_cast<uint32_t>(s), static_cast<uint32_t>(o)}});
  // Of equals the first option of the first choice: the same result everywhere.
  std::stable_sort(all.begin(), all.end(), [](const State& a, const State& b) {
    return a.sum.bytes != b.sum.bytes ? a.sum.bytes < b.sum.bytes : a.sum.cost < b.sum.cost;
  });
  const uint64_t span = all.back().sum.bytes - all.front().sum.bytes;
  std::vector<State> front;
  for (const State& s : all)
    if (front.empty() || s.sum.cost < front.back().sum.cost) front.push_back(s);
  if (front.size() > limit_) {
    const uint64_t step = span / limit_ + 1, first = front.front().sum.bytes;
    const auto step_of = [&](size_t i) { return (front[i].sum.bytes - first) / step; };
    std::vector<State> thinned = {front.front()};  // the smallest of all must stay
    for (size_t i = 1; i < front.size(); ++i)
      if (i + 1 == front.size() || step_of(i) != step_of(i + 1)) thinned.push_back(front[i]);
    front = std::move(thinned);
  }
  Front sums;
  for (const State& s : front) sums.push_back(s.sum);
  if (steps)
    for (const State& s : front) steps->push_back(s.step);
  return sums;
}

Budget::Budget(std::span<const BudgetItem> items, size_t limit) : items_(items.begin(), items.end()), limit_(limit) {
  for (const BudgetItem& item : items_) {
    if (item.empty()) fail(ErrorKind::internal, "an item of the budget has no options");
    for (const BudgetOption& o : item)
      if (!std::isfinite(o.cost)) fail(ErrorKind::internal, "a cost of the budget is {}", o.cost);
  }
  while (stride_ * stride_ < items_.size()) ++stride_;
  last_ = {Point{}};
  for (size_t i = 0; i < items_.size(); ++i) {
    if (i % stride_ == 0) kept_.push_back(last_);
    last_ = next(last_, items_[i], nullptr);
  }
}

uint64_t Budget::smallest() const { return last_.front().bytes; }

std::optional<BudgetChoice> Budget::best(uint64_t bytes) const {
  const auto past = std::upper_bound(last_.begin(), last_.end(), bytes,
                                     [](uint64_t limit, const Point& p) { return limit < p.bytes; });
  if (past == last_.begin()) return std::nullopt;
  const Point& found = *std::prev(past);
  BudgetChoice choice{.options = std::vector<size_t>(items_.size()), .bytes = found.bytes, .cost = found.cost};
  auto at = static_cast<size_t>(&found - last_.data());
  for (size_t part = kept_.size(); part-- > 0;) {
    const size_t begin = part * stride_, end = std::min(begin + stride_, items_.size());
    std::vector<std::vector<Step>> steps(end - begin);
    Front front = kept_[part];
    for (size_t i = begin; i < end; ++i) front = next(front, items_[i], &steps[i - begin]);
    for (size_t i = end; i-- > begin;) {
      const Step step = steps[i - begin][at];
      choice.options[i] = step.option;
      at = step.before;
    }
  }
  return choice;
}

std::vector<Budget::Point> Budget::curve() const { return last_; }

}  // namespace kerf
