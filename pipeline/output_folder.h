// The folder that a run writes to.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace kerf {

/// Error usage when it is a file, or without `force` when it is not empty. With `resume` it may
/// hold the state of a killed run and whatever lies beside that, or nothing but partial files.
void check_output_folder(const std::filesystem::path&, bool force, bool resume);

/// In the output folder, while a calibrated run is under way.
constexpr const char* kResumeFolder = ".kerf-resume";
/// Written last.
constexpr const char* kReportFile = "kerf-report.json";

/// With --force the folder may hold weights of an earlier run under other names (one file where there are now shards,
/// say), and a loader would read those: removes what is not among `written` of the safetensors and their index, or, of
/// a GGUF file `name`, of that file and its shards.
void remove_stale_weights(const std::filesystem::path& folder, const std::string& name,
                          std::span<const std::filesystem::path> written);

}  // namespace kerf
