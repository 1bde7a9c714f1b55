// What a training leaves behind so that a killed run can go on with it, in a folder of its own:
//
//   FOLDER/phase-N/model.safetensors    of a finished phase: per changed tensor NAME:codes, NAME:0 ... or NAME:values,
//                                       or of an adapter NAME:a and NAME:b;
//                                       "report" in the metadata
//   FOLDER/steps/model.safetensors      of the phase at hand: "values", "first", "second", "best" of its parameters;
//                                       "state" in the metadata
// Each file is complete when it has its name, and holds the SHA-256 of its content.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "distill/training.h"
#include "pipeline/distill/packed_weights.h"

namespace kerf {

class SavedTraining {
 public:
  explicit SavedTraining(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// What a finished phase has made of the weights, which keep what it left alone; its report. nullopt: not finished.
  /// Error bad_input, with the folder to remove, for a file that is damaged or of another model.
  std::optional<nlohmann::ordered_json> load_phase(size_t phase, PackedWeights&) const;
  void save_phase(size_t phase, const PackedWeights&, const nlohmann::ordered_json& report) const;

  /// The phase at hand, with the number of its steps.
  struct Steps {
    size_t phase = 0;
    int64_t steps = 0;
    TrainingState state;
  };
  std::optional<Steps> load_steps(size_t phase) const;
  void save_steps(const Steps&) const;

 private:
  std::filesystem::path folder_;
};

nlohmann::ordered_json to_json(const HeldOut&);
nlohmann::ordered_json to_json(const TrainingCurve&);

}  // namespace kerf
