// The folder that a run writes to, and the files in it that are kerf's.
#pragma once

#include <filesystem>
#include <set>
#include <span>
#include <string>

#include "pipeline/repository/repository.h"

namespace kerf {

/// In the output folder, while a calibrated run is under way or waits to be gone on with.
constexpr const char* kResumeFolder = ".kerf-resume";
constexpr const char* kReportFile = "kerf-report.json";
constexpr const char* kCardFile = "README.md";

/// True for names by which kerf keeps things for itself: ".kerf-...". No loader reads them, and they count for nothing.
bool is_private(const std::filesystem::path& name);

/// Finishes a publication that was stopped there (publication.h). Error usage when the folder is a file, or without
/// `force` when it is not empty. With `resume` it may hold the state of a stopped run and whatever lies beside that.
void check_output_folder(const std::filesystem::path&, bool force, bool resume);

/// One repository in the output folder.
struct Destination {
  std::string folder;  // relative to the output folder; "": that itself
  const Repository* kind = nullptr;
  std::string weights;  // TargetPlan::file_name
};

/// What earlier runs have left in the output folder, relative to it: all that a report of kerf there lists, with cards
/// and report, and in the folders of the destinations what their kinds own. Files only, and only such as are there; a
/// name in a report that leads out of the folder is passed over.
std::set<std::filesystem::path> earlier_files(const std::filesystem::path& out, std::span<const Destination>);

/// Everything that must outlive a run: the files of weights of the model that is read, and texts and the like.
struct Inputs {
  std::span<const std::filesystem::path> model;
  std::span<const std::filesystem::path> others = {};
};

/// Error usage, naming both, when writing there would replace or remove an input: when the output folder or that of a
/// destination is the folder of one of the model's files, as it was named or as links lead to it, or when an input is
/// among earlier_files(), by whatever name, or in a folder that kerf clears.
void refuse_inputs(const std::filesystem::path& out, std::span<const Destination>, const Inputs&);
/// The same for a single file: error usage when it is an input, or a file of the model's repository.
void refuse_inputs(const std::filesystem::path& file, const Inputs&);

}  // namespace kerf
