// The name that somebody probably meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// Of `names` the one that is written most like `given`, whatever its case: by the fewest letters inserted, left out,
/// replaced or exchanged with the next, or as its beginning. "" when none is alike enough to be meant, which is more
/// than a third of the letters.
std::string nearest(std::string_view given, std::span<const std::string> names);

}  // namespace kerf
