// Names, shapes and where float32 values of a tensor come from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace kerf {

/// One tensor of a checkpoint. Shapes are slowest dimension first, everywhere in kerf (a linear weight is [out, in]).
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<int64_t> shape;
  float plus =
      0;  // the model's value is the stored number, which read() gives, plus this (norms stored as w for 1 + w)

  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  /// Elements of one row: the product of all dimensions but the first.
  int64_t cols() const {
    int64_t n = 1;
    for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
    return n;
  }
  int64_t elements() const { return rows() * cols(); }
};

/// Weights as float32 by name, whatever file they lie in: how model code reads without knowing files.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual std::span<const TensorInfo> tensors() const = 0;
  /// nullptr when there is no such tensor.
  virtual const TensorInfo* find(std::string_view name) const = 0;
  /// Rows [row_begin, row_begin + out.size() / cols) as float32. Thread-safe.
  virtual void read(const TensorInfo&, int64_t row_begin, std::span<float> out) const = 0;
};

}  // namespace kerf
