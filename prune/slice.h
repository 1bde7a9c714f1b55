// A smaller model out of a larger one: the axes that its operations are made of, cut. No family is known here.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/arch/correspondence.h"

namespace kerf {

/// What is left of an architecture when that is kept: axes, layers and the shapes of weights. Ids of tokens are those
/// of the smaller vocabulary. Error unsupported where a weight is a part of a larger tensor, which would have to be cut
/// with it.
Architecture sliced(const Architecture&, const Correspondence& kept);

/// Numbers in all of its weights.
int64_t parameters_of(const Architecture&);

/// Its weights, read out of the original's: rows and columns that are kept, the embedding and the norm before a tied
/// head scaled where the family scales a narrower stream otherwise. Names are those that they have in the
/// smaller model. The source must outlive it. Thread-safe.
class SlicedWeights final : public TensorSource {
 public:
  SlicedWeights(const Architecture& original, const TensorSource&, const Correspondence& kept);

  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override;
  void read(const TensorInfo&, int64_t row_begin, std::span<float> out) const override;

 private:
  struct Part {
    const TensorInfo* whole = nullptr;
    std::vector<int64_t> rows, cols;  // of the original; empty: all
    float by = 1;                     // what the model's values are multiplied by
  };
  void add(const std::string& name, std::vector<int64_t> shape, const std::string& original, Part);
  void read_part(const Part&, const TensorInfo&, int64_t row_begin, std::span<float> out) const;

  const TensorSource& source_;
  std::vector<TensorInfo> infos_;
  std::vector<Part> parts_;
  std::unordered_map<std::string, size_t> index_;
};

/// Of 0 ... n - 1 those that a rising list lacks.
std::vector<int64_t> others_than(std::span<const int64_t> rising, int64_t n);

/// The elements of an axis that a layer of the smaller model keeps (-1: outside of the layers), whole groups each;
/// empty: all.
std::vector<int64_t> kept_elements(const Axis&, const Correspondence&, int64_t layer);

}  // namespace kerf
