// The folder that a run writes to.
#pragma once

#include <filesystem>
#include <span>

namespace kerf {

/// Error usage when it is a file, or without `force` when it is not empty.
void check_output_folder(const std::filesystem::path&, bool force);

/// With --force the folder may hold weights of an earlier run under other names (one file where there are now shards,
/// say), and a loader would read those: removes safetensors and their index that are not among `written`.
void remove_stale_weights(const std::filesystem::path& folder, std::span<const std::filesystem::path> written);

}  // namespace kerf
