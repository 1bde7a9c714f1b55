// The inputs that the matrices of a group share, summed up over all windows: the place where several processes, each
// with its part of the windows, will add up theirs (InputStatistics::merge()).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/run/blockwise_forward.h"
#include "pipeline/calibrate/finished_block.h"
#include "quant/input_statistics.h"

namespace kerf {

/// What is asked for beside the Hessian of the fitted tokens.
struct StatisticsNeeds {
  /// The last so many tokens, whole windows, are not fitted: they make up the validation Hessian.
  int64_t validation_tokens = 0;
  /// The same group in full precision, for the moments of asymmetric calibration; nullptr for none. Needs validation
  /// tokens.
  const BlockwiseForward::Group* full = nullptr;
  /// Where the other model is narrower: which channels of the full inputs are its own, in their order, then those that
  /// have gone; and which of the full hidden state. Empty: all of them.
  std::span<const int64_t> full_inputs = {}, full_states = {};
  /// Where the runtime rounds activations: how many channels share a scale then (0: all), for the sample.
  std::optional<int64_t> rounded_channels = std::nullopt;
  bool sums = false;
  /// What each token counts in all moments, [tokens]; empty: one.
  std::vector<float> token_weights = {};
};

/// What these matrices ask for: samples where their runtime rounds activations, sums where they are packed or pruned
/// and have a bias.
StatisticsNeeds needs_of(const BlockwiseForward::Group&, const PlannedMatrices&);

/// Goes over the group's inputs once for each of these. They may lie in a file, so they are read in pieces. Hessians
/// are finished. Error numerical, naming the first site, when activations are not finite.
InputStatistics group_statistics(const BlockwiseForward::Group&, const StatisticsNeeds&);

}  // namespace kerf
