// The loop over the blocks: targets one after the other, or group by group beside the model in full precision.
#include "pipeline/calibrate/calibrated.h"

#include <algorithm>

#include "core/log.h"
#include "pipeline/calibrate/calibrated_head.h"
#include "pipeline/calibrate/calibrated_target.h"
#include "pipeline/calibrate/outcome_notes.h"
#include "pipeline/calibrate/output_hessians.h"

namespace kerf {
namespace {

// One block of all these targets, group by group side by side.
void run_block(int64_t layer, std::span<CalibratedTarget* const> targets, FullPrecisionRun* full,
               const OutputHessians* outputs) {
  if (full) full->begin(layer);
  for (CalibratedTarget* target : targets) target->begin(layer);
  for (;;) {
    const std::optional<BlockwiseForward::Group> group = full ? full->next_group() : std::nullopt;
    bool more = false;
    for (CalibratedTarget* target : targets) more = target->has_next_group();
    if (!more) break;
    for (CalibratedTarget* target : targets) target->quantize_group(full ? &*group : nullptr, outputs);
    if (full) full->go_on(*group);
  }
  for (CalibratedTarget* target : targets) target->end(layer, full);
}

// The run in full precision, where the earliest of the targets goes on.
FullPrecisionRun full_precision_run(const CalibrationJob& job, const std::vector<int64_t>& first_layer) {
  FullPrecisionRun full(job.architecture, job.source, job.windows, job.scratch);
  const auto earliest = std::min_element(first_layer.begin(), first_layer.end()) - first_layer.begin();
  const int64_t layer = first_layer[static_cast<size_t>(earliest)];
  if (layer > 0) full.restore(layer - 1, job.states[static_cast<size_t>(earliest)]->load_full());
  return full;
}

}  // namespace

std::vector<std::vector<SiteOutcome>> pack_calibrated(const CalibrationJob& job) {
  const Architecture& a = job.architecture;
  warn_of_few_tokens(a, job.windows.tokens(), job.options.damping);
  pack_matrices(a, job.source, find_quantizer("rtn"), job.targets, 0, {},
                [&](const PlannedMatrix& m) { return is_calibrated_head(a, m); });
  std::vector<std::unique_ptr<CalibratedTarget>> targets;
  for (size_t i = 0; i < job.targets.size(); ++i)
    targets.push_back(std::make_unique<CalibratedTarget>(job, job.targets[i], job.states[i]));
  std::vector<int64_t> first_layer;
  for (const auto& target : targets) first_layer.push_back(target->resume());
  std::optional<FullPrecisionRun> full;
  if (job.asymmetric) full.emplace(full_precision_run(job, first_layer));
  std::optional<OutputHessians> outputs;
  if (const int64_t first = *std::min_element(first_layer.begin(), first_layer.end());
      job.kl_hessian && first < a.layers())
    outputs.emplace(a, job.source, job.windows, first, job.scratch);
  Progress progress("calibrating block", a.layers());
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    std::vector<CalibratedTarget*> active;
    for (size_t i = 0; i < targets.size(); ++i)
      if (layer >= first_layer[i]) active.push_back(targets[i].get());
    if (full && !active.empty())
      run_block(layer, active, &*full, outputs ? &*outputs : nullptr);
    else
      for (CalibratedTarget* target : active) run_block(layer, {&target, 1}, nullptr, outputs ? &*outputs : nullptr);
    progress.advance();
  }
  std::vector<std::vector<SiteOutcome>> outcomes;
  for (const auto& target : targets) {
    target->finish();
    outcomes.push_back(std::move(*target).outcomes());
  }
  return outcomes;
}

}  // namespace kerf
