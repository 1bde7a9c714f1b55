// What belongs beside the weights in a repository of the Hugging Face hub.
#pragma once

#include <filesystem>

#include "pipeline/plan.h"

namespace kerf {

/// Writes config.json with the plan's quantization_config, and copies the tokenizer, generation and licence files of
/// the source checkpoint. Returns what was written.
std::vector<std::filesystem::path> write_huggingface_companions(const std::filesystem::path& source, const TargetPlan&,
                                                                const std::filesystem::path& out);

}  // namespace kerf
