// Compression that looks at activations: one pass over the blocks, in which every product is computed once.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/windows.h"
#include "pipeline/method.h"
#include "pipeline/pack.h"

namespace kerf {

/// What was done to one matrix. Errors are relative to the matrix's output, sum |E x|^2 / sum |W x|^2 over the tokens
/// that the method is judged on.
struct SiteOutcome {
  std::string name, method;
  double error_rtn = 0;  // of rounding to nearest, weighted by the mean square of each input
  double error = 0;
  double alpha = 0;    // of activation-aware scaling; 0: none
  double damping = 0;  // relative to the mean of the Hessian's diagonal; 0 where none was needed
  int64_t dead = 0;    // input channels that were always zero
};

/// Packs like pack(), with codes chosen by what they do to the activations of these windows. Within a block the sites
/// that share an input are quantized as soon as every window has reached them, and the pass goes on through the
/// quantized weights, so that later sites see the errors of earlier ones. Biases take the mean error of their site.
/// Each job has its own stream of activations. Returns one list per job, in the order in which sites ran. Memory:
/// hidden states of all windows per job, one group's inputs, one block's weights, one Hessian and its factor.
std::vector<std::vector<SiteOutcome>> pack_calibrated(const Architecture&, const TensorSource&, const Method&,
                                                      const QuantizerOptions&, const Windows&,
                                                      std::span<const PackJob> jobs);

}  // namespace kerf
