// A model whose weights are trained, tensor by tensor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "distill/trained_model.h"
#include "distill/trained_tensor.h"

namespace kerf {

/// Products are those of model/run/fast_linear.h, or, with `exact`, in float32. A tied head and the embedding are one
/// tensor, to which both gradients go. Norms are trained as they act (TensorInfo::plus added).
class Student final : public TrainedModel {
 public:
  enum class Role { vocabulary, matrix, vector };  // embedding or head; of a block; a norm or a bias
  /// What stands for a tensor of the checkpoint.
  using Make = std::function<std::unique_ptr<TrainedTensor>(const std::string& name, Role)>;
  Student(const Architecture&, const Make&, bool exact = false);

  const Architecture& architecture() const override { return arch_; }
  BlockWeights weights(int64_t layer) override;
  WeightGradients wanted(int64_t layer) const override;
  void take(int64_t layer, WeightGradients) override;
  void embed(std::span<const int32_t> ids, float* out) override;
  void take_embedded(std::span<const int32_t> ids, std::span<const float> d) override;

  /// By the checkpoint's names.
  std::map<std::string, std::unique_ptr<TrainedTensor>>& tensors() { return tensors_; }
  const std::map<std::string, std::unique_ptr<TrainedTensor>>& tensors() const { return tensors_; }
  /// Of all tensors, or of those of one layer (-1: of the embedding and of what follows the blocks), by name.
  std::vector<Parameter> parameters();
  std::vector<Parameter> parameters(int64_t layer);
  /// What follows from moved parameters; of a layer's tensors or of all.
  void settle();
  void settle(int64_t layer);

 private:
  std::vector<TrainedTensor*> of_layer(int64_t layer);
  const Ops& ops_of(int64_t layer) const { return layer < 0 ? arch_.after : arch_.block(layer); }
  std::shared_ptr<const Linear> linear_of(const Site&);

  const Architecture arch_;
  const bool exact_;
  std::map<std::string, std::unique_ptr<TrainedTensor>> tensors_;
  std::map<std::string, std::shared_ptr<const Linear>> unchanging_;  // products of tensors that are not trained
};

/// Every tensor of the source in plain numbers, trained.
Student dense_student(const Architecture&, const TensorSource&, bool exact = false);

}  // namespace kerf
