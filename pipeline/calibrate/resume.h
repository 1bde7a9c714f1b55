// What a calibrated run leaves behind so that a killed one can go on: the codes of each finished block, and from time
// to time the hidden states after one.
//
//   FOLDER/run.json                     what the run is: another model, recipe or text cannot go on with it
//   FOLDER/block-N/model.safetensors    per matrix NAME:codes, NAME:0, NAME:1 ... (parameters) or NAME:values; changed
//                                       vectors under their own name; "outcomes" in the metadata
//   FOLDER/hidden/model.safetensors     "hidden" [tokens, hidden], "full" where the model in full precision runs
//                                       beside, and in the metadata the layer after which
// Every file is complete when it has its name, and holds the SHA-256 of its content.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pipeline/calibrate/finished_block.h"

namespace kerf {

/// What all that will take of the disk at most, but for names and vectors: hidden states twice, while those of a later
/// layer take the place of others.
uint64_t state_bytes(const TargetPlan&, int64_t tokens, int64_t hidden, bool asymmetric);

/// Error usage when the folder of all states holds one under a name that is not among `targets`, those of a run that is
/// to go on; there are none without calibration.
void refuse_other_targets(const std::filesystem::path& folder, std::span<const std::string> targets);

class ResumeState {
 public:
  /// With `resume` what the folder holds is gone on with, if it holds something. Error usage, with the differences,
  /// when that is of another run. Nothing is touched.
  ResumeState(std::filesystem::path folder, nlohmann::ordered_json run, bool resume, std::chrono::seconds save_every);

  /// Before anything else is asked for: empties the folder, unless the run goes on with what it holds.
  void begin();

  /// The layer after which the run can go on; nothing when it begins at the first.
  std::optional<int64_t> last() const { return last_; }
  /// Of a layer up to last(). Plans as in the run that saved it. Error bad_input when a file is damaged, with the
  /// folder to remove.
  FinishedBlock load_block(int64_t layer, const PlannedMatrices& planned) const;
  std::vector<float> load_hidden() const { return load_states("hidden"); }
  /// Those of the model in full precision, which asymmetric calibration saves too.
  std::vector<float> load_full() const { return load_states("full"); }

  /// Hidden states are saved when the last time is `save_every` ago. `full` is empty where there is none. The first
  /// time that the system refuses to write, on a full disk say, that is told, and nothing more is saved.
  void save(int64_t layer, const FinishedBlock&, std::span<const float> hidden, std::span<const float> full,
            int64_t width);

 private:
  std::vector<float> load_states(const std::string& name) const;
  void save_block(int64_t layer, const FinishedBlock&) const;
  void save_states(int64_t layer, std::span<const float> hidden, std::span<const float> full, int64_t width) const;
  std::filesystem::path block_folder(int64_t layer) const;

  std::filesystem::path folder_;
  nlohmann::ordered_json run_;
  bool resuming_ = false, saving_disabled_ = false;
  std::optional<int64_t> last_;
  std::chrono::seconds save_every_;
  std::chrono::steady_clock::time_point saved_ = std::chrono::steady_clock::now();
};

}  // namespace kerf
