// Text that came from a file: is it UTF-8, and how to show it in a sentence.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kerf {

/// Position of the first byte that does not belong to well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, no
/// surrogates, nothing past U+10FFFF); nullopt when all of it is.
std::optional<size_t> first_invalid_utf8(std::string_view);

/// The text in single quotes, fit for a sentence: control and invalid bytes as \xNN, cut after `limit` bytes.
std::string in_quotes(std::string_view, size_t limit = 120);

}  // namespace kerf
