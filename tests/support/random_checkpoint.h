// Checkpoints whose weights come from counters, the same here and in goldens/forward/make.py.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/arch/architecture.h"
#include "model/text/windows.h"

namespace kerf::test {

/// A bijection of 64-bit numbers that looks random (Steele, Lea and Flood 2014).
uint64_t splitmix64(uint64_t counter);

/// Weights in memory, under the names of the architecture: matrices N(0, 1.5^2 / in), biases N(0, 0.5^2), norms
/// U(0.5, 1.5), as in make.py. Tests may change or remove tensors before they use it.
class RandomCheckpoint : public TensorSource {
 public:
  /// With `dtype` bf16 or f16 every weight is rounded to it.
  explicit RandomCheckpoint(const Architecture&, Dtype dtype = Dtype::f32);

  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override;
  void read(const TensorInfo&, int64_t row_begin, std::span<float> out) const override;

  void add(const std::string& name, std::vector<int64_t> shape, float plus = 0);
  void remove(const std::string& name);
  std::vector<float>& values(const std::string& name) { return values_.at(name); }
  /// Largest number of floats handed out by one read().
  mutable int64_t largest_read = 0;

 private:
  Dtype dtype_;
  std::vector<TensorInfo> infos_;
  std::map<std::string, std::vector<float>> values_;
};

/// Ids splitmix64(0), splitmix64(1), ... modulo the vocabulary.
Windows random_windows(int64_t count, int64_t length, int64_t vocab);

}  // namespace kerf::test
