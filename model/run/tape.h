// The way back through a list of operations: each activation of the forward pass is kept until the gradient has passed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/arithmetic.h"
#include "model/run/block.h"

namespace kerf {

/// Gradients of the weights of a list of operations, in their order; an empty vector: not wanted. Matrices as
/// OpGradient::d_linear has them.
struct WeightGradients {
  struct OfOp {
    std::vector<float> linear, weight, bias;
    std::function<void(std::span<const float> d)> result;  // sees that of what the operation gave, [tokens, width]
  };
  std::vector<OfOp> ops;
};

/// Runs a list forward and back, as often as wanted, in the order of sums that Hugging Face's code has; in llama.cpp's
/// there is no way back. Memory: that of every activation of the list, and while it goes back of two or three
/// gradients. The architecture must outlive it. Results do not depend on the number of threads.
class Tape {
 public:
  Tape(const Architecture&, const Ops&, const Arithmetic&, int64_t length);

  /// What the last operation makes of x [windows * length, hidden], which is kept, like the weights, until backward().
  /// Valid until the next call.
  std::span<const float> forward(const BlockWeights&, int64_t windows, std::span<const float> x);
  /// The gradient of x, given that of the result; those of weights are added to what is wanted. After forward(), once.
  std::vector<float> backward(std::span<const float> d_result, WeightGradients&);

 private:
  // The operation that wrote what operation i reads as input k: -1 for x.
  std::vector<std::vector<int>> writers_;
  const Architecture& arch_;
  const Ops ops_;
  const OpRunner runner_;
  const int64_t length_;

  const BlockWeights* weights_ = nullptr;
  std::span<const float> x_;
  int64_t windows_ = 0;
  std::vector<std::vector<float>> values_;  // of each operation
};

}  // namespace kerf
