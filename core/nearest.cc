#include "core/nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/words.h"

namespace kerf {
namespace {

// Optimal string alignment.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = last;
    last = now;
  }
  return last[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  constexpr size_t kLongest = 64, kShortestBeginning = 3;  // of words worth comparing
  if (word.empty() || word.size() > kLongest) return "";
  const std::string wanted = lower_case(word);
  std::string_view found;
  std::pair<size_t, size_t> least = {std::max<size_t>(1, wanted.size() / 3) + 1, 0};
  for (const std::string_view name : known) {
    const std::string k = lower_case(name);
    const size_t shorter = std::min(k.size(), wanted.size());
    const bool begins = shorter >= kShortestBeginning && k.compare(0, shorter, wanted, 0, shorter) == 0;
    const size_t d = distance(wanted, k);
    const std::pair<size_t, size_t> now = {begins ? std::min<size_t>(1, d) : d, d};
    if (now < least) {
      least = now;
      found = name;
    }
  }
  return found;
}

}  // namespace kerf
