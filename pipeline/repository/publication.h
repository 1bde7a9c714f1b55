// From nothing to a complete output folder, or to what was there before. Everything is written to a staging folder
// inside the output folder, OUT/.kerf-staging, and measured there; publish() then lets it take the place of what
// earlier runs have left, weights, companions, cards and report together.
//
// How. Usually the folder as a whole is exchanged: the staging folder moves beside OUT as .NAME.kerf-replaced, files in
// OUT that are not kerf's are linked into it (hard links, so nothing is copied and open files stay what they are), and
// one call of the system lets the two folders change places. Before that call OUT is the old one, after it the new one,
// for every reader and whatever ends the process or the machine; .kerf-replaced holds nothing that is not in OUT too,
// or is out of date, and the next run clears it.
//
// Where that cannot be (OUT is a mount, or the folder that kerf was started in; its parent cannot be written; a file
// system without hard links or exchange; a folder with attributes that would be lost, or with thousands of other
// files), files are renamed one by one, and .kerf-publish.json, written first, says which: from that moment on every
// command of kerf that opens or writes OUT finishes the work before it does anything else (finish_publication). A
// loader that looks between two of the renames finds no card and no report, and may find weights of both runs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "core/file.h"
#include "pipeline/repository/output_folder.h"

namespace kerf {

constexpr const char* kStagingFolder = ".kerf-staging";
constexpr const char* kJournal = ".kerf-publish.json";

/// Where the whole folder's other half lies while the two change places: .NAME.kerf-replaced beside it.
std::filesystem::path replaced_folder(const std::filesystem::path& out);

/// For one thread. Until publish() or keep() the output folder is as it was, but for the staging folder in it; the
/// destructor removes that, and folders that begin() created, when they are empty. So do SIGINT, SIGTERM and SIGHUP.
class Publication {
 public:
  /// Touches nothing. `out` has passed check_output_folder().
  Publication(std::filesystem::path out, std::vector<Destination>);
  ~Publication();
  Publication(const Publication&) = delete;
  Publication& operator=(const Publication&) = delete;

  /// Error usage as refuse_inputs() and refuse_foreign() say, and when something that is no plain folder lies where a
  /// destination's would.
  void check(const Inputs&) const;
  /// Creates the staging folder with those of the destinations, empty. Error usage when another run is writing to the
  /// output folder, io as the system says.
  void begin();
  /// After begin(): where everything is to be written, under the names that it will have in the output folder.
  const std::filesystem::path& stage() const { return stage_; }
  /// Where a staged file lies after publish().
  std::filesystem::path published(const std::filesystem::path& staged) const;
  /// Everything staged takes its place, and earlier_files().of_kerf go; a warning names them. Open and mapped files
  /// stay readable. Error usage when a folder lies where a file is to be, or there are foreign files (then the staged
  /// ones stay where they are), io as the system says; then nothing has changed, or finish_publication() has something
  /// to do, which the sentence says.
  void publish();
  /// Leaves the staged files in the staging folder.
  void keep();

 private:
  void check_places(const std::vector<std::filesystem::path>& names) const;

  std::filesystem::path out_;   // as it was given
  std::filesystem::path real_;  // without links
  std::vector<Destination> destinations_;
  std::filesystem::path stage_;
  std::vector<std::filesystem::path> created_;  // by begin(), deepest first
  std::unique_ptr<FolderLock> lock_;
  std::optional<RemovedOnSignals> on_signals_;
};

/// Finishes what a publication that was stopped between its renames has left, in the folder itself (of a file: in which
/// it lies) or in one of the two above, which of a run with several targets are its output folder. Says so in a note. A
/// journal that belongs to another user, or names the inode of another folder (it came with an archive, or the folder
/// is a copy), is left with a warning. Error io when that cannot be done, bad_input when .kerf-publish.json is damaged,
/// usage while another process is at it.
void finish_publication(const std::filesystem::path&);

}  // namespace kerf
