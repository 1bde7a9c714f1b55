// A model whose weights change: what a gradient pass reads of it, and where the gradients go.
#pragma once

#include <cstdint>
#include <span>

#include "model/arch/architecture.h"
#include "model/run/block.h"
#include "model/run/tape.h"

namespace kerf {

class TrainedModel {
 public:
  virtual ~TrainedModel() = default;
  virtual const Architecture& architecture() const = 0;

  /// As they are now, of a layer's operations; layer -1: of those after the blocks.
  virtual BlockWeights weights(int64_t layer) = 0;
  /// Zeros where gradients are wanted; empty elsewhere.
  virtual WeightGradients wanted(int64_t layer) const = 0;
  /// Takes what a pass found, once per layer and pass.
  virtual void take(int64_t layer, WeightGradients) = 0;

  /// out[t] = row ids[t] of the embedding, [ids.size(), hidden].
  virtual void embed(std::span<const int32_t> ids, float* out) = 0;
  /// The gradient of what embed() gave.
  virtual void take_embedded(std::span<const int32_t> ids, std::span<const float> d) = 0;
};

}  // namespace kerf
