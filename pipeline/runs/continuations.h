// What a pruned model writes, beside what the original does.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "model/text/windows.h"
#include "verify/artifact.h"
#include "verify/correspondence.h"

namespace kerf {

/// How many texts, and how many tokens of each.
constexpr int64_t kPrompts = 3, kContinuedTokens = 40;

/// Greedy continuations of the beginnings of some windows (in the original's ids), both in float32, for the report:
/// {"agree": share of tokens before the texts part, "tokens", "texts": [{"prompt", "original", "pruned",
/// "same_tokens"}]}.
nlohmann::ordered_json continuations(const Artifact& original, const Artifact& pruned, const Correspondence&,
                                     const Windows&);

}  // namespace kerf
