// Merging is addition member by member, always `this` + next, so that only the order of the calls matters.
#include "quant/input_statistics.h"

#include "core/error.h"

namespace kerf {
namespace {

template <class T>
void merge_optional(std::optional<T>& mine, const std::optional<T>& next) {
  if (mine && next)
    mine->merge(*next);
  else if (next)
    mine = next;
}

void check_width(size_t a, size_t b) {
  if (a != b) fail(ErrorKind::internal, "statistics of {} and of {} inputs were added", a, b);
}

// The mean over the tokens of both.
void merge_means(std::vector<float>& mine, int64_t tokens, const std::vector<float>& next, int64_t next_tokens) {
  if (next.empty()) return;
  if (mine.empty()) {
    mine = next;
    return;
  }
  check_width(mine.size(), next.size());
  if (tokens == 0 || next_tokens == 0)
    fail(ErrorKind::internal, "importance that was not measured on tokens cannot be added up");
  const auto a = static_cast<double>(tokens), b = static_cast<double>(next_tokens);
  for (size_t c = 0; c < mine.size(); ++c)
    mine[c] = static_cast<float>((a * static_cast<double>(mine[c]) + b * static_cast<double>(next[c])) / (a + b));
}

void merge_sums(std::vector<double>& mine, const std::vector<double>& next) {
  if (next.empty()) return;
  if (mine.empty()) mine.resize(next.size());
  check_width(mine.size(), next.size());
  for (size_t c = 0; c < mine.size(); ++c) mine[c] += next[c];
}

}  // namespace

void InputStatistics::Asymmetric::merge(const Asymmetric& next) {
  fitted.merge(next.fitted);
  validation.merge(next.validation);
}

void InputStatistics::merge(const InputStatistics& next) {
  if (fitted.n == 0)
    fitted = next.fitted;
  else if (next.fitted.n != 0)
    fitted.merge(next.fitted);
  merge_optional(validation, next.validation);
  merge_optional(asymmetric, next.asymmetric);
  merge_optional(sample, next.sample);
  merge_sums(sums, next.sums);
  merge_means(importance, tokens, next.importance, next.tokens);
  tokens += next.tokens;
}

Hessian InputStatistics::pooled() const { return validation ? sum_of(fitted, *validation) : fitted; }

void InputStatistics::pool() {
  if (!validation) return;
  fitted.merge(*validation);
  validation.reset();
}

}  // namespace kerf
