// The forward pass of one list of operations on given activations with given weights: what the pass over a model does
// block after block, and what can be called alone, as often as wanted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/arithmetic.h"
#include "model/ops/op.h"
#include "model/run/schedule.h"
#include "model/run/weights.h"

namespace kerf {

/// The weights of a list of operations, in their order; empty where an operation has none.
struct BlockWeights {
  struct OfOp {
    std::shared_ptr<const Linear> linear;
    std::vector<float> weight, bias;
  };
  std::vector<OfOp> ops;
  std::vector<Site> sites;  // of the matrices, in the order in which they run
};

/// Those of a layer. Without `with_matrices` the matrices are left out, for a caller that brings its own. Errors as the
/// provider's, and bad_input for a vector of another size.
BlockWeights load_block(const Architecture&, WeightProvider&, int64_t layer, bool with_matrices = true);
/// Those of operations outside of the blocks (Architecture::before or after).
BlockWeights load_ops(const Architecture&, WeightProvider&, const Ops&, int64_t layer, bool with_matrices);

/// Error internal when llama.cpp's order of sums is asked for with another rounding than it has.
void check_arithmetic(const Arithmetic&);

/// What operations need besides weights: the arithmetic, and tables of positions up to `length`. The architecture must
/// outlive it.
class OpRunner {
 public:
  OpRunner(const Architecture&, const Ops&, const Arithmetic&, int64_t length);

  /// Called after each matrix: its place among the list's matrices, inputs [tokens, in] and outputs [tokens, out] with
  /// bias and rounding.
  using Observer = std::function<void(size_t matrix, const float* x, int64_t tokens, const float* y)>;
  /// Runs steps [begin, end) of the list's schedule on a batch of whole windows; buffer(number) is where its part of
  /// an activation lies. Several threads may call it on different buffers.
  void run(const Schedule&, const BlockWeights&, size_t begin, size_t end, int64_t windows,
           const std::function<float*(int)>& buffer, const Observer& = {}) const;
  /// The whole list on x [windows * length, hidden], in place, with buffers of its own.
  void run(const BlockWeights&, int64_t windows, float* x, const Observer& = {}) const;
  /// One operation on rows of `columns` of its axis (0: all).
  void apply(size_t op, const BlockWeights::OfOp&, int64_t windows, std::span<const float* const> in, float* out,
             int64_t columns = 0) const;
  /// Its way back, after apply() with the same arguments.
  void backward(size_t op, const BlockWeights::OfOp&, int64_t windows, std::span<const float* const> in, float* out,
                const OpGradient&) const;

 private:
  OpCall call(size_t op, const BlockWeights::OfOp&, int64_t windows, std::span<const float* const> in, float* out,
              int64_t columns) const;

  const Architecture& arch_;
  const Ops ops_;
  const bool ggml_;
  const OpRounding rounding_;
  const int64_t length_;
  std::vector<std::shared_ptr<const std::vector<float>>> tables_;  // of each operation; those alike share one
};

/// x [windows * length, hidden] becomes what the block makes of it. Buffers are allocated for the call.
void block_forward(const Architecture&, int64_t layer, const BlockWeights&, const Arithmetic&, int64_t windows,
                   int64_t length, float* x);

}  // namespace kerf
