// The folder that a run writes to.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace kerf {

/// Error usage when it is a file, or without `force` when it is not empty. With `resume` it may
/// hold the state of a killed run and whatever lies beside that, or nothing but partial files.
void check_output_folder(const std::filesystem::path&, bool force, bool resume);

/// Weights in safetensors, when they are one file.
constexpr const char* kWeightsFile = "model.safetensors";
/// In the output folder, while a calibrated run is under way.
constexpr const char* kResumeFolder = ".kerf-resume";
/// Written last.
constexpr const char* kReportFile = "kerf-report.json";

/// Error usage when that is the folder of one of the model's own files.
void refuse_source_folder(const std::filesystem::path&, std::span<const std::filesystem::path> source);

/// With --force the folder may hold weights of an earlier run under other names (one file where there are now shards,
/// say), and a loader would read those: removes what is not among `written` of the file `name`, of its shards
/// NAME-00001-of-00002, and of their index in safetensors.
void remove_stale_weights(const std::filesystem::path& folder, const std::string& name,
                          std::span<const std::filesystem::path> written);

}  // namespace kerf
