// The smallest weights become zero; the others stay. Without a pattern or /row they are compared over the matrix.
#include <cmath>

#include "prune/pruner.h"
#include "prune/smallest.h"

namespace kerf {
namespace {

class PreparedMagnitude final : public PreparedPruner {
 public:
  explicit PreparedMagnitude(const Sparsity& s) : sparsity_(s) {}

  PrunedMatrix prune(std::span<const float> w, int64_t rows, int64_t cols) const override {
    std::vector<float> scores(w.begin(), w.end());
    for (float& x : scores) x = std::abs(x);
    PrunedMatrix p{.mask = mask_of_smallest(scores, rows, cols, sparsity_, false)};
    p.values = without_masked(w, p.mask);
    return p;
  }

 private:
  const Sparsity sparsity_;
};

class Magnitude final : public Pruner {
 public:
  std::string_view name() const override { return "magnitude"; }
  std::string_view describe() const override { return "the smallest weights; needs no text"; }
  bool needs_hessian() const override { return false; }
  std::unique_ptr<PreparedPruner> prepare(const Hessian*, const Sparsity& s, double) const override {
    return std::make_unique<PreparedMagnitude>(s);
  }
};

}  // namespace

const Pruner& pruner_magnitude() {
  static const Magnitude magnitude;
  return magnitude;
}

}  // namespace kerf
