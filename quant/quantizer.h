// A quantizer chooses a code for each weight, on any grid. One file each: quantizer_<name>.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grids/quantized_matrix.h"
#include "solver/hessian.h"

namespace kerf {

class ErrorFeedback;

/// What calibration knows of the inputs that some sites share. Made once per input, used by each of its sites.
struct Statistics {
  Hessian hessian;
  /// The mean square of each input where nothing else is known (an importance matrix): the Hessian is empty then.
  std::vector<float> importance = {};
  /// Made by Quantizer::prepare() for the quantizer that will be used.
  std::shared_ptr<const ErrorFeedback> feedback = nullptr;
};

constexpr int kMostRefines = 100;

struct QuantizerOptions {
  double damping = 0.01;  // of the mean of the Hessian's diagonal
  int refine = 2;         // passes over the codes once all are chosen, kMostRefines at most
  bool operator==(const QuantizerOptions&) const = default;
};

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  virtual std::string_view name() const = 0;
  /// One line for people.
  virtual std::string_view describe() const = 0;
  /// Whether quantize() wants a Hessian.
  virtual bool needs_hessian() const = 0;
  /// Fills in what sites with these statistics and this scheme share. Errors: numerical when the Hessian cannot be
  /// factorized.
  virtual void prepare(Statistics&, const Scheme&, const QuantizerOptions&) const {}
  /// w [rows, cols] row-major, finite, in the given scheme. Without statistics (nullptr) errors count alike in all
  /// columns; a quantizer that needs_hessian() must have prepared them. Errors: unsupported when the grid cannot take
  /// the scheme or shape, numerical when a parameter does not fit its stored type. Thread-safe; rows are independent.
  virtual QuantizedMatrix quantize(std::span<const float> w, int64_t rows, int64_t cols, const Scheme&,
                                   const Statistics*, const QuantizerOptions&) const = 0;
};

/// What is known of the inputs of matrices, by their names in the checkpoint.
using SiteStatistics = std::unordered_map<std::string, Statistics>;

std::span<const Quantizer* const> all_quantizers();
/// Error usage, with the known names, when there is none.
const Quantizer& find_quantizer(std::string_view name);

}  // namespace kerf
