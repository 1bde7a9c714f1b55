// A model all of whose weights are trained, in float32.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "distill/trained_model.h"

namespace kerf {

/// A weight and its gradient since the last clear().
struct TrainedTensor {
  std::vector<float> values, gradient;
};

/// Products are those of model/run/fast_linear.h, or, with `exact`, in float32. A tied head and the embedding are one
/// tensor, to which both gradients go. Norms are trained as they act (TensorInfo::plus added).
class DenseModel final : public TrainedModel {
 public:
  DenseModel(const Architecture&, const TensorSource&, bool exact = false);

  const Architecture& architecture() const override { return arch_; }
  BlockWeights weights(int64_t layer) override;
  WeightGradients wanted(int64_t layer) const override;
  void take(int64_t layer, WeightGradients) override;
  void embed(std::span<const int32_t> ids, float* out) override;
  void take_embedded(std::span<const int32_t> ids, std::span<const float> d) override;

  /// By the checkpoint's names.
  std::map<std::string, TrainedTensor>& tensors() { return tensors_; }
  void clear();

 private:
  const Ops& ops_of(int64_t layer) const { return layer < 0 ? arch_.after : arch_.block(layer); }

  const Architecture arch_;
  const bool exact_;
  std::map<std::string, TrainedTensor> tensors_;
};

}  // namespace kerf
