// Which channels of the residual stream go: those that cost the matrices of all blocks least.
#pragma once

#include <cstdint>
#include <vector>

#include "core/scratch.h"
#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf {

/// On which channels of the residual stream are told apart.
constexpr int64_t kWidthTokens = 8192;

/// A model and what it reads, which must outlive what is done with it.
struct WidthSamples {
  const Architecture& architecture;
  const TensorSource& source;
  const Windows& windows;  // of about kWidthTokens
  Scratch& scratch;
};

/// Q [hidden, hidden], row-major: column k is the eigenvector of the k-th largest eigenvalue of the mean second moments
/// of the stream as norms without weights leave it, over all groups that read it (RotatedWeights of an empty Q), of the
/// channels_to_mix(); the others stay what they are.
/// REQUIRES: rotation_refused() is "". Errors as below.
std::vector<float> principal_directions(const WidthSamples&);

struct WidthChoice {
  std::vector<int64_t> kept;       // channels, rising
  std::vector<double> importance;  // of each channel
};

/// The importance of channel c is the sum over all groups of matrices that read the stream through a norm, the head
/// included, of what it gives to their outputs, as a share of these outputs' squares: |W_c|^2 H_cc / tr(W H WT), H the
/// second moments of the normed stream. What others could make up for is left out on purpose: many channels of the
/// stream would stand for each other, and go together. One pass over the model; memory: one block, one group's inputs.
/// Error numerical for weights or activations that are not finite.
WidthChoice choose_width(const WidthSamples&, int64_t keep);

}  // namespace kerf
