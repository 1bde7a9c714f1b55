// A quantizer chooses a code for each weight, on any grid. One file each: quantizer_<name>.cc.
#pragma once

#include <span>
#include <string_view>

#include "grids/quantized_matrix.h"

namespace kerf {

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  virtual std::string_view name() const = 0;
  /// w [rows, cols] row-major, finite, in the given scheme. `importance` has one weight per column for the squared
  /// error, or is empty for all ones. Errors: unsupported when the grid cannot take the scheme or shape, numerical when
  /// a parameter does not fit its stored type. Thread-safe; rows are independent.
  virtual QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Scheme&,
                                   std::span<const float> importance) const = 0;
};

std::span<const Quantizer* const> all_quantizers();
/// Error usage, with the known names, when there is none.
const Quantizer& find_quantizer(std::string_view name);

}  // namespace kerf
