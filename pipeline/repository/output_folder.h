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

/// True for names by which kerf keeps things for itself in an output folder: the staging folder, the state of a run,
/// the journal of renames, and ".kerf-NAME.partial". No loader reads them, and they count for nothing.
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

/// What lies in the output folder and is not written again, relative to it. Files only; a name in a report that leads
/// out of the folder is passed over.
struct EarlierFiles {
  /// A report of kerf there lists them, with the size and the SHA-256 that they have; their cards, and the report.
  std::set<std::filesystem::path> of_kerf;
  /// Of a name that the kind of a destination owns (Repository::owns), and not `of_kerf`.
  std::set<std::filesystem::path> foreign;
  /// Listed by the report, not as they were written, and not `foreign`.
  std::set<std::filesystem::path> changed;
};
/// `written`: what the run puts there. Error io.
EarlierFiles earlier_files(const std::filesystem::path& out, std::span<const Destination>,
                           const std::set<std::filesystem::path>& written);
/// Error usage that names them when there are foreign files.
void refuse_foreign(const std::filesystem::path& out, const EarlierFiles&);

/// Everything that must outlive a run: the files of weights of the model that is read, and texts and the like.
struct Inputs {
  std::span<const std::filesystem::path> model;
  std::span<const std::filesystem::path> others = {};
};

/// Error usage, naming both, when writing there would replace or remove an input: when the output folder or that of a
/// destination is the folder of one of the model's files, as it was named or as links lead to it, or when an input is,
/// by whatever name, a file that a run might replace or remove, or lies in a folder that kerf clears.
void refuse_inputs(const std::filesystem::path& out, std::span<const Destination>, const Inputs&);
/// The same for a single file: error usage when it, or the name that it has until it is complete, is an input or a file
/// of the model's repository; and as writable_file() says.
void refuse_inputs(const std::filesystem::path& file, const Inputs&);

}  // namespace kerf
