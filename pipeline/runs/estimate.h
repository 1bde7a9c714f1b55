// What a compression will take, before the first weight is read.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/text/windows.h"
#include "pipeline/calibrate/pace.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/plan.h"
#include "pipeline/runs/allocate.h"
#include "prune/method.h"
#include "prune/shape.h"
#include "verify/artifact.h"

namespace kerf {

struct TargetEstimate {
  std::string target;
  uint64_t bytes = 0;    // of the files of weights
  uint64_t adapter = 0;  // of an adapter beside them; 0: there is none
  BitsPerWeight bpw;
  bool open = false;  // its schemes are not chosen yet: `bytes` is the most, of bpw only `all` is known
};

/// How schemes that are not chosen yet will be.
struct SchemeChoice {
  int64_t matrices = 0, tokens = 0;
  double passes = 0, seconds = 0;  // forward passes over those tokens, and what they take
};

struct RunEstimate {
  int64_t parameters = 0;
  std::vector<TargetEstimate> targets;
  uint64_t disk = 0;                  // needed, with what is saved for --resume
  std::optional<uint64_t> disk_free;  // nothing where the system does not say
  bool asked_for_disk = true;         // false: no output folder was named
  uint64_t memory = 0;                // anonymous, at its peak
  uint64_t activations = 0;           // the part of it that holds activations of all windows
  uint64_t scratch = 0;               // activations beyond the limit, in a file of the output folder
  double seconds = 0;                 // all of these, and the weights at the pace of rtn
  std::optional<CalibrationTime> calibration = std::nullopt;
  double evaluation = 0;
  double pruning = 0;                   // choosing what goes, shares of zeros included, and writing what is left
  double training = 0;                  // of all targets, with the model's own text
  double texts = 0;                     // that the original and the pruned model write
  double speeds = 0;                    // measuring them
  std::vector<std::string> stays = {};  // of what pruning cuts, a line each
  double rate = 0;  // floating-point operations per second of products in float32, measured now on all threads
  std::optional<SchemeChoice> choice = std::nullopt;  // of a size to be allocated that is not yet
};

/// Plans are complete (pipeline/repository/repository.h); `out` may be empty: then nothing is said of free room.
/// `windows` are those of calibration, nullptr without. `memory_limit` in bytes, 0 for none: Error usage when what is
/// no activation does not fit. Of the time only what rtn takes is there until it is measured.
RunEstimate estimate(const Artifact& source, std::span<const TargetPlan* const>, const Method&, bool asymmetric,
                     bool kl_hessian, const Windows* windows, const std::filesystem::path& out,
                     uint64_t memory_limit = 0);

/// What measure_time() is to go by. Everything must outlive the call.
struct RunToMeasure {
  const Artifact& source;
  std::span<const TargetPlan* const> plans;  // of the source as it is
  const Method& method;
  const QuantizerOptions& options;
  PruneMethod pruning = {};  // of matrices that the plans give a sparsity
  bool asymmetric = false, kl_hessian = false;
  const Windows* calibration = nullptr;   // nullptr: none
  int64_t evaluated = 0;                  // tokens
  const Architecture* smaller = nullptr;  // of the model that is packed, where pruning leaves another than the source's
};

/// Adds what calibration and evaluation will take. Evaluation counts as one pass in float32 of the source, of each
/// target, and of what pruning left; kernels of packed weights are somewhat faster or slower. A smaller model counts
/// like the source, by its weights. Errors: as measure_calibration().
void measure_time(RunEstimate&, const RunToMeasure&);

/// What add_pruning() is to go by.
struct PruningToMeasure {
  const Artifact& source;
  const Architecture& smaller;  // what is left
  const PrunedShape& shape;
  std::span<const PrunedShape> trials;  // that are measured for a size, before that shape is known
  bool correct = true;
  double damping = 0.01;
  const Windows* calibration = nullptr;
};

/// Adds what making the source smaller takes: the search of blocks, the pass of prune_structure() (StructurePace), the
/// trials, and the checkpoint in float32 that is left for the rest of the run. After measure_time().
void add_pruning(RunEstimate&, const PruningToMeasure&);
/// What add_training() is to go by.
struct TrainingToMeasure {
  const Artifact& source;
  const Architecture& packed;
  std::span<const TargetPlan* const> plans;
  const DistillOptions& options;
  int64_t windows = 0, length = 0;  // that are trained on,
  int64_t own_tokens = 0;           // and what of it the model is to write
};

/// Adds training as so many products, at the pace of those in float32 (processors that multiply bf16 faster take less),
/// and its memory. After measure_time().
void add_training(RunEstimate&, const TrainingToMeasure&);
/// Adds the texts that the source and each target write (continuations()). After measure_time().
void add_texts(RunEstimate&, const Artifact& source, const Architecture& packed, int64_t targets);

/// Adds the measurement of shares of zeros, so many operations (allocation_products()). After measure_time().
void add_shares(RunEstimate&, double products);
/// Adds the measurement of speeds, of so many models. After measure_time().
void add_speeds(RunEstimate&, const Architecture&, int64_t models);

/// The same where the bytes of the one target are still to be allocated: its plan stands only for its shapes. `bytes`
/// are those asked for, and choosing the schemes takes time of its own. After measure_time().
void leave_schemes_open(RunEstimate&, uint64_t bytes, const AllocationWork&);

/// Of the file system of that path, which need not exist yet; nothing when the system does not say, or says that it has
/// no room for anything at all (some network file systems).
std::optional<uint64_t> free_bytes(const std::filesystem::path&);

nlohmann::ordered_json to_json(const RunEstimate&);
std::string to_table(const RunEstimate&);

}  // namespace kerf
