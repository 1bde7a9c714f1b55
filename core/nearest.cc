#include "core/nearest.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

namespace kerf {
namespace {

std::string in_lower_case(std::string_view s) {
  std::string lower(s);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

// Damerau and Levenshtein's distance, where no part is changed twice.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(std::string_view given, std::span<const std::string> names) {
  constexpr size_t kLongest = 64, kShortestBeginning = 3;
  std::string best;
  if (given.empty() || given.size() > kLongest) return best;
  const std::string wanted = in_lower_case(given);
  std::pair<size_t, size_t> least = {std::max<size_t>(1, wanted.size() / 3) + 1, 0};
  for (const std::string& name : names) {
    const std::string known = in_lower_case(name);
    const size_t shorter = std::min(known.size(), wanted.size());
    const bool begins = shorter >= kShortestBeginning && known.compare(0, shorter, wanted, 0, shorter) == 0;
    const size_t d = distance(wanted, known);
    const std::pair<size_t, size_t> now = {begins ? std::min<size_t>(1, d) : d, d};
    if (now < least) {
      least = now;
      best = name;
    }
  }
  return best;
}

}  // namespace kerf
