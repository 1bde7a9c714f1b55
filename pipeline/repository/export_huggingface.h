// What belongs beside the weights in a repository of the Hugging Face hub.
#pragma once

#include <filesystem>

#include "pipeline/plan/plan.h"

namespace kerf {

constexpr uint64_t kShardBytes = 5'000'000'000;  // of one safetensors file, unless another size is asked for

/// Writes config.json as the plan's target completes it and the target's companion files, and copies the tokenizer,
/// generation and licence files of the source checkpoint. Returns what was written.
std::vector<std::filesystem::path> write_huggingface_companions(const std::filesystem::path& source, const TargetPlan&,
                                                                const std::filesystem::path& out);

}  // namespace kerf
