// Compression that looks at activations: one pass over the blocks, in which every product is computed once.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/scratch.h"
#include "model/text/windows.h"
#include "pipeline/calibrate/resume.h"
#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/pack.h"

namespace kerf {

/// Of the windows, one in so many is kept out of the statistics where something is judged on others.
constexpr int64_t kHeldOutPart = 8;
/// How many of them that are; of fewer than kHeldOutPart windows one, and of a single window none.
constexpr int64_t held_out_windows(int64_t windows) {
  return windows >= kHeldOutPart ? windows / kHeldOutPart : windows > 1 ? 1 : 0;
}

/// Packs like pack(), with codes chosen by what they do to the activations of these windows. Within a block the sites
/// that share an input are quantized as soon as every window has reached them, and the pass goes on through the
/// quantized weights, so that later sites see the errors of earlier ones. Biases take the mean error of their site.
/// Each job has its own stream of activations. With `asymmetric` the model in full precision runs beside them, and
/// weights are first moved to where they make up for what the compressed model's activations lack
/// (solver/asymmetric.h); errors are then those of the moved weights. Returns one list per job, in the order in which
/// sites ran. `states` has one entry per job: what is saved after each block, and where a run goes on; nullptr saves
/// nothing. Memory: hidden states of all windows per job and one group's inputs, both from `scratch`; one block's
/// weights, one Hessian and its factor. With `asymmetric`, which takes at least kHeldOutPart windows, the
/// full-precision run counts as a job, every job has a group's inputs at the same time, and there is one more matrix as
/// large as a Hessian.
std::vector<std::vector<SiteOutcome>> pack_calibrated(const Architecture&, const TensorSource&, const Method&,
                                                      const QuantizerOptions&, bool asymmetric, const Windows&,
                                                      std::span<const PackJob> jobs,
                                                      std::span<ResumeState* const> states, Scratch& scratch);

}  // namespace kerf
