// Training what packing has left, before it is measured and published.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/scratch.h"
#include "distill/phase.h"
#include "distill/training.h"
#include "model/text/windows.h"
#include "pipeline/distill/packed_weights.h"
#include "pipeline/plan/options.h"

namespace kerf {

/// Everything that is referred to must outlive it.
struct DistillJob {
  const Artifact& original;   // the teacher
  const Artifact& source;     // what was packed: the original, or what pruning left of it
  const Windows& windows;     // in the packed model's ids
  const Windows* second;      // of a text of another kind, measured before and after; nullptr: none
  std::vector<int32_t> kept;  // the original's id of each of those; empty: the same
  const DistillOptions& options;
  Scratch& scratch;             // for the teacher's hidden states
  std::filesystem::path saved;  // what a stopped run goes on with (saved_training.h)
  std::chrono::seconds save_every{20};
};

struct Distilled {
  PackedWeights weights;
  /// Windows, batch, seed; of each phase its steps, rate, figures of the held-out windows and of the second text before
  /// and after, the loss curve.
  nlohmann::ordered_json report;
  std::vector<int64_t> steps;  // of each phase
};

/// Error usage for options that contradict each other or come without a phase, and for a phase `blocks` of a model that
/// has other blocks or channels than the original.
void check_distill(const DistillOptions&, const Architecture& original, const Architecture& packed);
/// Error usage for windows of which none can be held out.
void check_training_windows(const Windows&);

/// Whether an adapter will lie beside the files.
bool adapts(const DistillOptions&);
/// How many of the windows are held out,
int64_t training_held_out(int64_t windows);
/// and how a phase is trained on so many others, where no time is given.
TrainingOptions training_options(const DistillOptions&, size_t phase, int64_t windows);

/// Trains a packed file in the phases of the options, each from what the one before has left. One window in eight, 32
/// at most, is held out of the training and says what it has gained; those that stand among the training windows too
/// are left out. What is said of speed and time left goes to the log. Errors: as open_saved() (saved_arrays.h).
Distilled distill(const DistillJob&, const Artifact& packed, const TargetPlan&);

}  // namespace kerf
