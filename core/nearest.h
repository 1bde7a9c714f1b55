// Which known word somebody probably meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// The one of `known` that takes the fewest insertions, deletions, replacements and exchanges of neighbours, upper and
/// lower case alike; "" where even that takes more than a third of the word's letters.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

/// In lower case (ASCII).
std::string lower_case(std::string_view);

}  // namespace kerf
