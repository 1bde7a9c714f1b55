// What the original model predicts after each token of the text that a student learns from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/scratch.h"
#include "core/tensor.h"
#include "distill/loss.h"
#include "model/arch/architecture.h"
#include "model/run/blockwise_forward.h"
#include "model/run/tape.h"
#include "model/text/windows.h"

namespace kerf {

/// Keeps the hidden state of every token after the last block, float32 in `scratch`, from which final norm and head
/// make the logits each time that they are wanted: exact, and 4 bytes x hidden per token.
class Teacher {
 public:
  /// Runs the blocks over the windows in float32; `after_block` is called after each. Architecture, source and scratch
  /// must outlive it. `kept`, where the student has fewer tokens: the teacher's id of each of its ids.
  Teacher(const Architecture&, const TensorSource&, const Windows&, Scratch&,
          const std::function<void(int64_t layer)>& after_block = {}, std::vector<int32_t> kept = {});

  /// Of batches of these windows: a loss against them. The teacher must outlive it.
  Divergence divergence(std::vector<int64_t> windows);

 private:
  std::span<const float> logits(std::span<const int64_t> windows, int64_t begin, int64_t count);

  const Architecture& arch_;
  const int64_t length_;
  const std::vector<int32_t> kept_;
  std::unique_ptr<WeightProvider> weights_;
  BlockwiseForward blocks_;
  BlockWeights head_;
  Tape tail_;
  std::vector<float> rows_, of_kept_;
};

}  // namespace kerf
