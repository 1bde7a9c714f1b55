// Text that a model writes by itself: what perplexity does not show.
#pragma once

#include <cstdint>
#include <vector>

#include "model/text/windows.h"
#include "verify/artifact.h"

namespace kerf {

/// The most probable token after each prompt (lowest id among equals), in float32, appended and asked for again,
/// `tokens` times: one list per prompt, without the prompt. Ids are the model's own. After the prompts each step
/// multiplies the last tokens alone; the matrices are read anew, so that one block of them is in memory at a time.
std::vector<std::vector<int32_t>> continue_greedily(const Artifact&, const Windows& prompts, int64_t tokens);

}  // namespace kerf
