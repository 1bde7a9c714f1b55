// What the outputs of each matrix mean to the predictions: moments of gradients, from one pass there and back.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/scratch.h"
#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"
#include "solver/hessian.h"

namespace kerf {

/// Damping of what is found here, relative to the mean of the diagonal (solver/row_feedback.h). 0.01, 0.1 and 1
/// measured alike.
constexpr double kOutputDamping = 0.1;

/// Near the original model its divergence from another one is half of sum over tokens of (gT E x)^2 for a matrix with
/// errors E, inputs x and g the gradients of distill/fisher.h to its outputs. Taken apart, each factor with a half of
/// the gradient's magnitude, so that few large ones count less:
///   (gT E x)^2 = |g|^2 (uT E x)^2, u = g / |g|;   G = sum of |g| u uT,   H = sum of |g| x xT.
class OutputHessians {
 public:
  /// Runs the model in full precision over the windows, and gradients back through it as far as block `first_layer`.
  /// Block by block: one block's weights and activations are in memory; hidden states before each block, and what was
  /// found, lie in `scratch`, which must outlive it. The same for any number of threads. Error numerical, naming the
  /// matrix, when a gradient is not finite.
  OutputHessians(const Architecture&, const TensorSource&, const Windows&, int64_t first_layer, Scratch&);

  /// G of a matrix of these blocks, [out, out].
  Hessian of(const Site&) const;
  /// What the tokens count in the moments of inputs that these matrices share, [tokens], 1 on average: |g| over all of
  /// them, each matrix with the same share.
  std::vector<float> token_weights(std::span<const Site>) const;

 private:
  struct OfSite {
    ScratchArray moments;
    std::vector<float> squares;  // |g|^2 of each token
  };
  std::map<std::string, OfSite> sites_;
};

/// Floats in `scratch` at most, and in memory: the moments of one block.
int64_t output_hessian_floats(const Architecture&, int64_t tokens);
int64_t output_moments_in_memory(const Architecture&);

}  // namespace kerf
