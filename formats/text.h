// How to show text that came from a file in a sentence.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/utf8.h"

namespace kerf {

/// The text in single quotes, fit for a sentence: control and invalid bytes as \xNN, cut after `limit` bytes.
std::string in_quotes(std::string_view, size_t limit = 120);

}  // namespace kerf
