#include "core/words.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace kerf {

std::string lower_case(std::string_view text) {
  std::string s(text);
  for (char& c : s)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return s;
}

std::string some_of(std::span<const std::string> words, size_t most) {
  const std::span<const std::string> shown = words.first(std::min(words.size(), most));
  return fmt::format("{}{}", fmt::join(shown, ", "), words.size() > most ? ", ..." : "");
}

}  // namespace kerf
