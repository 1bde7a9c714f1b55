// Well-formed UTF-8: Unicode 15, table 3-7 (no overlong forms, no surrogates, nothing past U+10FFFF).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace kerf {

/// Bytes of the well-formed sequence that begins at s[i], 1 to 4; 0 when there is none. Requires i < s.size().
size_t utf8_sequence_at(std::string_view s, size_t i);

/// Position of the first byte that does not belong to well-formed UTF-8; nullopt when all of it is.
std::optional<size_t> first_invalid_utf8(std::string_view s);

}  // namespace kerf
