// One target of a calibrated run on its way through the blocks.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/run/blockwise_forward.h"
#include "pipeline/calibrate/calibrated.h"
#include "pipeline/calibrate/finished_block.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/output_hessians.h"

namespace kerf {

class CalibratedTarget {
 public:
  /// All of these must outlive it. `state` may be nullptr.
  CalibratedTarget(const CalibrationJob&, const PackJob& target, ResumeState* state);

  /// Writes what an earlier run has finished; returns the first layer that is left.
  int64_t resume();
  /// A block is begin(), then quantize_group() as long as has_next_group(), then end(). `full` is the same group, or
  /// the run, in full precision; nullptr without asymmetric calibration. `outputs` likewise.
  void begin(int64_t layer) { stream_.begin_groups(layer); }
  bool has_next_group();
  void quantize_group(const BlockwiseForward::Group* full, const OutputHessians* outputs);
  void end(int64_t layer, const FullPrecisionRun* full);
  /// After the last block: the head, and the vectors.
  void finish();
  std::vector<SiteOutcome> outcomes() && { return std::move(outcomes_); }

 private:
  std::vector<GroupSite> sites_of(const BlockwiseForward::Group&) const;
  InputStatistics statistics_of(const BlockwiseForward::Group&, const BlockwiseForward::Group* full,
                                const OutputHessians*) const;
  bool shares_scale(const BlockwiseForward::Group&) const;
  ChosenGroup choose(const BlockwiseForward::Group&, std::vector<GroupSite>&, const InputStatistics&,
                     const std::optional<Folding>&, const OutputHessians*) const;
  BlockwiseForward::Replacement keep_as_it_is(const BlockwiseForward::Group&, size_t i, GroupSite&, const ChosenGroup&);
  BlockwiseForward::Replacement take(const BlockwiseForward::Group&, size_t i, const GroupSite&, ChosenGroup&,
                                     const InputStatistics&);
  const Method& method_of(const Site&) const;

  const CalibrationJob& job_;
  const PackJob& target_;
  ResumeState* const state_;
  const std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward stream_;
  PlannedMatrices planned_;
  std::map<std::string, Method> methods_;  // of matrices that the recipe treats otherwise
  FinishedBlock block_;                    // the present one
  std::vector<SiteOutcome> outcomes_;      // of all finished blocks
  std::optional<BlockwiseForward::Group> next_;
};

}  // namespace kerf
