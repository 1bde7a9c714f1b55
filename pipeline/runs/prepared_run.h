// Everything of a compression that comes before the first weight is packed: inputs read, decisions made, what is
// refused refused, and what pruning leaves.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/scratch.h"
#include "pipeline/calibrate/resume.h"
#include "pipeline/plan/method.h"
#include "pipeline/report/source_identity.h"
#include "pipeline/repository/publication.h"
#include "pipeline/runs/estimate.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/planned_outputs.h"
#include "pipeline/runs/pruned_source.h"
#include "quant/input_statistics.h"

namespace kerf {

/// All that is decided and read before the weights.
struct Prepared {
  Method method;
  PruneMethod pruning;                 // of weights that become zero
  std::vector<SiteOverride> shares;    // of zeros, by sensitivity
  ModelLocation location;              // of the original; the name is that of its files
  Artifact source;                     // what is packed: the model that was given, or what pruning left of it
  std::unique_ptr<Artifact> original;  // the model that was given, where pruning left another
  nlohmann::ordered_json pruned;       // what the report says of that
  std::vector<Output> unpruned;        // of a dry run: plans of the whole model, for what it takes,
  std::optional<PrunePlan> cut;        // what is left of it,
  std::vector<PrunedShape> trials;     // and the shapes that are measured for a size
  std::vector<std::string> stays;      // of what is pruned, in words
  std::vector<Output> outputs;
  std::optional<Windows> windows, second, calibration;  // `second`: of the second text
  std::optional<Windows> training;  // in the source's ids; none without --distill; of a dry run without ids
  std::vector<std::unique_ptr<ResumeState>> states = {};  // of each output; none without calibration
  SiteStatistics input_statistics = {};                   // from an importance matrix, or the norms
  uint64_t activations = Scratch::kNoLimit;               // bytes of them that may lie in memory
  bool asymmetric = false, kl_hessian = false;
  Recipe recipe = {};  // all that was left to kerf decided: what a report says to get the same
  SourceIdentity identity = {};
  std::unique_ptr<Publication> publication = nullptr;
  std::unique_ptr<SaidOnSignals> last_words = nullptr;

  /// What the files are compared with.
  const Artifact& reference() const { return original ? *original : source; }
};

/// `may_measure`: schemes, shapes and shares may be measured, and the source is pruned; without, for a dry run, they
/// stay open. Errors: all that a run refuses before it packs.
Prepared prepare(const CompressOptions&, bool may_measure);

/// What the run will take; the time that calibration takes is not in it yet.
RunEstimate estimate_run(const CompressOptions&, const Prepared&);

/// Leaves what was decided beside what a calibrated run will save.
void freeze(const CompressOptions&, const Prepared&);

}  // namespace kerf
