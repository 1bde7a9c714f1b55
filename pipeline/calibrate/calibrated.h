// Compression that looks at activations: one pass over the blocks, in which every product is computed once.
#pragma once

#include <span>
#include <vector>

#include "core/scratch.h"
#include "model/text/windows.h"
#include "pipeline/calibrate/resume.h"
#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/pack.h"
#include "prune/method.h"

namespace kerf {

/// Of the windows, one in so many is kept out of the statistics where errors are measured on others.
constexpr int64_t kHeldOutPart = 8;
/// How many of them that are; of fewer than kHeldOutPart windows one, and of a single window none.
constexpr int64_t held_out_windows(int64_t windows) {
  return windows >= kHeldOutPart ? windows / kHeldOutPart : windows > 1 ? 1 : 0;
}

/// What a calibrated run is about. Everything that is referred to must outlive it.
struct CalibrationJob {
  const Architecture& architecture;
  const TensorSource& source;
  const Method& method;  // of matrices whose plan names none
  const QuantizerOptions& options;
  /// Of matrices that the plan gives a sparsity.
  PruneMethod pruning = {};
  /// Whether the model in full precision runs beside, and weights make up for what activations lack. Takes at least
  /// kHeldOutPart windows.
  bool asymmetric = false;
  /// Whether errors of outputs and tokens count by what they do to the predictions (output_hessians.h).
  bool kl_hessian = false;
  const Windows& windows;
  std::span<const PackJob> targets;
  /// Of each target: what is saved after each block, and where a run goes on; nullptr saves nothing.
  std::span<ResumeState* const> states;
  Scratch& scratch;  // where activations of all windows lie

  /// How many of the last tokens of the windows, or of some of them, are kept for validation.
  int64_t validation_tokens() const { return validation_tokens(windows); }
  int64_t validation_tokens(const Windows& of) const {
    return method.held_out || asymmetric ? held_out_windows(of.count) * of.length : 0;
  }
};

/// Packs like pack(), with codes chosen by what they do to the activations of the job's windows. Within a block the
/// sites that share an input are quantized as soon as every window has reached them, and the pass goes on through the
/// quantized weights, so that later sites see the errors of earlier ones. Biases take the mean error of their site.
/// Each target has its own pass over the activations. With `asymmetric` the model in full precision runs beside them,
/// and weights are first moved to where they make up for what the compressed model's activations lack
/// (solver/asymmetric.h); errors are then those of the moved weights. Matrices with a sparsity are pruned where they
/// are quantized, those in plain numbers too: masks are chosen from the moved weights, and later sites see what the
/// zeros cost. Returns one list per target, in the order in
/// which sites ran. Memory: hidden states of all windows per target and one group's inputs, both from `scratch`; one
/// block's weights, one Hessian and its factor, and another Hessian where errors are measured on windows that are held
/// out. With `asymmetric` the full-precision run counts as a target, every target has a group's inputs at the same
/// time, and there are two more matrices as large as a Hessian. With `kl_hessian` a pass there and back comes first,
/// and what it finds lies in `scratch`; a group has its factors in memory.
std::vector<std::vector<SiteOutcome>> pack_calibrated(const CalibrationJob&);

}  // namespace kerf
