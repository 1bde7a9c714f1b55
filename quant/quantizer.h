// A quantizer chooses a code for each weight, on any grid. One file each: quantizer_<name>.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "grids/quantized_matrix.h"
#include "quant/input_statistics.h"
#include "solver/row_feedback.h"

namespace kerf {

constexpr int kMostRefines = 100;

struct QuantizerOptions {
  double damping = 0.01;  // of the mean of the Hessian's diagonal
  int refine = 2;         // passes over the codes once all are chosen, kMostRefines at most
  bool operator==(const QuantizerOptions&) const = default;
};

/// A quantizer made ready for one scheme and one set of inputs: what all matrices that share them have in common.
/// Threads: any number at a time.
class PreparedQuantizer {
 public:
  virtual ~PreparedQuantizer() = default;
  /// w [rows, cols] row-major, finite. Where rows share no parameters they are independent, so that a matrix may come
  /// in pieces. With a `mask` [rows, cols] the weights that it names get exactly the value 0, and the result keeps the
  /// mask. With `between_rows`, which has as many, rows make up for each other's errors where the quantizer feeds
  /// errors back. Errors: unsupported when the scheme cannot take the shape or the mask (check_mask()), numerical when
  /// a parameter does not fit its stored type.
  virtual QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Mask* mask = nullptr,
                                   const RowFeedback* between_rows = nullptr) const = 0;
  /// What was added to the Hessian's diagonal, relative to its mean; 0 where no Hessian is used.
  virtual double damping() const { return 0; }
};

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  virtual std::string_view name() const = 0;
  /// One line for people.
  virtual std::string_view describe() const = 0;
  /// Whether prepare() wants a Hessian.
  virtual bool needs_hessian() const = 0;
  /// Reads `fitted` of the statistics, or `importance` where that is empty; without statistics (nullptr) errors count
  /// alike in all columns. The statistics must outlive what is returned and stay as they are: Hessians are not copied.
  /// Errors: unsupported when the grid does not know the scheme, numerical when the Hessian cannot be factorized,
  /// internal when it needs_hessian() and there is none.
  virtual std::unique_ptr<PreparedQuantizer> prepare(const InputStatistics*, const Scheme&,
                                                     const QuantizerOptions&) const = 0;
};

std::span<const Quantizer* const> all_quantizers();
/// Error usage, with the known names, when there is none.
const Quantizer& find_quantizer(std::string_view name);

}  // namespace kerf
