// Wanda (Sun et al., 2023, arXiv 2306.11695): the weights with the smallest |w| |x|, |x| the norm of the weight's input
// over all tokens, become zero; the others stay. Compared within each row, also without /row.
#include <cmath>

#include "core/error.h"
#include "prune/pruner.h"
#include "prune/smallest.h"

namespace kerf {
namespace {

class PreparedWanda final : public PreparedPruner {
 public:
  PreparedWanda(const Hessian& h, const Sparsity& s) : sparsity_(s) {
    for (int64_t c = 0; c < h.n; ++c) norms_.push_back(std::sqrt(h.diagonal(c)));
  }

  PrunedMatrix prune(std::span<const float> w, int64_t rows, int64_t cols) const override {
    std::vector<float> scores(w.begin(), w.end());
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = std::abs(scores[i]) * norms_[i % norms_.size()];
    PrunedMatrix p{.mask = mask_of_smallest(scores, rows, cols, sparsity_, true)};
    p.values = without_masked(w, p.mask);
    return p;
  }

 private:
  const Sparsity sparsity_;
  std::vector<float> norms_;
};

class Wanda final : public Pruner {
 public:
  std::string_view name() const override { return "wanda"; }
  std::string_view describe() const override { return "the smallest weights times the norms of their inputs, by row"; }
  bool needs_hessian() const override { return true; }
  std::unique_ptr<PreparedPruner> prepare(const Hessian* h, const Sparsity& s, double) const override {
    if (!h) fail(ErrorKind::internal, "wanda was called without a Hessian");
    return std::make_unique<PreparedWanda>(*h, s);
  }
};

}  // namespace

const Pruner& pruner_wanda() {
  static const Wanda wanda;
  return wanda;
}

}  // namespace kerf
