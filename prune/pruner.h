// A pruner chooses which weights of a matrix become zero and what becomes of the others. One file each:
// pruner_<name>.cc.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "grids/quantized_matrix.h"
#include "prune/sparsity.h"
#include "solver/hessian.h"

namespace kerf {

struct PrunedMatrix {
  Mask mask;
  std::vector<float> values;  // [rows, cols]: 0 where the mask says so
};

class PreparedPruner {
 public:
  virtual ~PreparedPruner() = default;
  /// w [rows, cols] row-major, finite. The result does not depend on the number of threads. Error unsupported when the
  /// pattern does not divide the row.
  virtual PrunedMatrix prune(std::span<const float> w, int64_t rows, int64_t cols) const = 0;
};

class Pruner {
 public:
  virtual ~Pruner() = default;
  virtual std::string_view name() const = 0;
  /// One line for people.
  virtual std::string_view describe() const = 0;
  /// Whether prepare() wants a Hessian.
  virtual bool needs_hessian() const = 0;
  /// `hessian` (nullptr where none is needed) must outlive what is returned. `damping` relative to the mean of its
  /// diagonal.
  virtual std::unique_ptr<PreparedPruner> prepare(const Hessian* hessian, const Sparsity&, double damping) const = 0;
};

/// Every pruner (the table is written by CMake).
std::span<const Pruner* const> all_pruners();
/// Error usage, with the known names, when there is none.
const Pruner& find_pruner(std::string_view name);

}  // namespace kerf
