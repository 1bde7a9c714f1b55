// Which known word somebody probably meant.
#pragma once

#include <span>
#include <string_view>

namespace kerf {

/// The one of `known` that is written most like `word`, upper and lower case alike: by the fewest letters inserted,
/// left out, replaced or exchanged with the next, or as its beginning. "" when none is alike enough to be meant, which
/// is more than a third of the letters.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace kerf
