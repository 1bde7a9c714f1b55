// What packed models write by themselves, beside what the original does.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "model/text/windows.h"
#include "verify/artifact.h"

namespace kerf {

/// How many texts, and how many tokens of each.
constexpr int64_t kPrompts = 3, kContinuedTokens = 40;

/// Greedy continuations of the beginnings of some windows (in the original's ids), all in float32, for the report; for
/// each of `packed`, whose kerf-correspondence.json says what its ids are in the original:
/// {"agree": share of tokens before the texts part, "tokens", "texts": [{"prompt", "original", "packed",
/// "same_tokens"}]}.
std::vector<nlohmann::ordered_json> continuations(const Artifact& original, std::span<const Artifact* const> packed,
                                                  const Windows&);

}  // namespace kerf
