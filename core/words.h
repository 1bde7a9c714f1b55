// Words and lists of words, for names that people type and sentences that they read.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// In lower case (ASCII).
std::string lower_case(std::string_view);

/// "a, b, c", or the first `most` of them and "..." behind.
std::string some_of(std::span<const std::string> words, size_t most = 3);

}  // namespace kerf
