// Text that a model writes by itself: what perplexity does not show.
#pragma once

#include <cstdint>
#include <vector>

#include "model/text/windows.h"
#include "verify/artifact.h"

namespace kerf {

/// The most probable token after each prompt (lowest id among equals), appended and asked for again, `tokens` times:
/// one list per prompt, without the prompt. Ids are the model's own. Every step computes its prompts anew.
std::vector<std::vector<int32_t>> continue_greedily(const Artifact&, VerifyMode, const Windows& prompts,
                                                    int64_t tokens);

}  // namespace kerf
