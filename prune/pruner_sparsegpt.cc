// SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): columns are taken in order, those that follow make up for
// what was pruned, and what is pruned is chosen on the way, where removing it costs least given all that was removed
// before: the smallest w_k^2 / U[k, k]^2, with w as earlier columns have moved it and U the upper Cholesky factor of
// the inverse Hessian. Compared within the groups of a pattern when the pass reaches them, else within blocks of 128
// columns, over all rows or (/row) in each.
#include <algorithm>
#include <deque>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "prune/pruner.h"
#include "prune/smallest.h"
#include "solver/error_feedback.h"

namespace kerf {
namespace {

constexpr int64_t kBlock = 128;   // the paper's
constexpr int64_t kTogether = 8;  // columns whose errors reach the rest of a group in one product

// The rows of a panel, in place in the whole matrix.
struct PanelRows {
  int64_t rows = 0, cols = 0;
  std::span<const float> w;
  std::span<uint8_t> zero;
  std::span<float> values;
};

// What removing each weight of some columns would cost: scores[r, k].
void removal_costs(const float* target, const float* u, int64_t stride, int64_t columns, int64_t rows, float* scores) {
  for (int64_t k = 0; k < columns; ++k) {
    const float d = 1.0f / u[k * stride + k];
    for (int64_t r = 0; r < rows; ++r) {
      const float x = target[k * kRowsPerPanel + r] * d;
      scores[r * columns + k] = x * x;
    }
  }
}

// Of each row of the group the cheapest to remove.
void choose_in_rows(const ColumnGroup& g, const Sparsity& s, const PanelRows& p) {
  std::vector<float> scores(static_cast<size_t>(p.rows * g.size));
  removal_costs(g.target, g.u, g.stride, g.size, p.rows, scores.data());
  const int64_t zeros = s.of > 0 ? s.zeros : zeros_among(s, g.size);
  for (int64_t r = 0; r < p.rows; ++r)
    mark_smallest(std::span(scores).subspan(static_cast<size_t>(r * g.size), static_cast<size_t>(g.size)), zeros,
                  p.zero.subspan(static_cast<size_t>(r * p.cols + g.begin), static_cast<size_t>(g.size)));
}

// Masked weights of a group become zero, the others take their targets, which move with each column that is done.
void remove_masked(const ColumnGroup& g, const PanelRows& p) {
  const Feedback& kernel = feedback();
  std::fill_n(g.f, g.size * kRowsPerPanel, 0.0f);
  for (int64_t begin = 0; begin < g.size; begin += kTogether) {
    const int64_t end = std::min(g.size, begin + kTogether);
    for (int64_t k = begin; k < end; ++k) {
      const float* t = g.target + k * kRowsPerPanel;
      float *q = g.q + k * kRowsPerPanel, *f = g.f + k * kRowsPerPanel;
      const float d = 1.0f / g.u[k * g.stride + k];
      for (int64_t r = 0; r < p.rows; ++r) {
        const bool zero = p.zero[static_cast<size_t>(r * p.cols + g.begin + k)] != 0;
        q[r] = zero ? 0.0f : t[r];
        f[r] = zero ? t[r] * d : 0.0f;
      }
      kernel.subtract(g.target + (k + 1) * kRowsPerPanel, end - k - 1, f, 1, g.u + k * g.stride + k + 1, g.stride);
    }
    kernel.subtract(g.target + end * kRowsPerPanel, g.size - end, g.f + begin * kRowsPerPanel, end - begin,
                    g.u + begin * g.stride + end, g.stride);
  }
}

class PreparedSparseGpt final : public PreparedPruner {
 public:
  PreparedSparseGpt(const Hessian& h, const Sparsity& s, double damping)
      : sparsity_(s), feedback_(h, damping, group(s, h.n), group(s, h.n), false) {
    check_pattern(s, h.n);
  }

  PrunedMatrix prune(std::span<const float> w, int64_t rows, int64_t cols) const override {
    PrunedMatrix p{{std::vector<uint8_t>(w.size())}, std::vector<float>(w.size())};
    std::vector<PanelRows> panels;
    for (int64_t begin = 0; begin < rows; begin += kRowsPerPanel) {
      const int64_t count = std::min(kRowsPerPanel, rows - begin);
      const auto first = static_cast<size_t>(begin * cols), size = static_cast<size_t>(count * cols);
      panels.push_back({count, cols, w.subspan(first, size), std::span(p.mask.zero).subspan(first, size),
                        std::span(p.values).subspan(first, size)});
    }
    if (sparsity_.of > 0 || sparsity_.by_row)
      by_rows(panels);
    else
      by_blocks(panels);
    // values holds w - q so far.
    for (size_t i = 0; i < w.size(); ++i) p.values[i] = p.mask.zero[i] != 0 ? 0.0f : w[i] - p.values[i];
    return p;
  }

 private:
  static int64_t group(const Sparsity& s, int64_t n) { return s.of > 0 ? s.of : std::min(kBlock, n); }

  void by_rows(std::span<PanelRows> panels) const {
    parallel_for(static_cast<int64_t>(panels.size()), [&](int64_t i) {
      const PanelRows& p = panels[static_cast<size_t>(i)];
      feedback_.choose(p.w, p.rows, p.values, [&](const ColumnGroup& g) {
        choose_in_rows(g, sparsity_, p);
        remove_masked(g, p);
      });
    });
  }

  // All panels side by side: in each block of columns the weights of all rows are compared.
  void by_blocks(std::span<PanelRows> panels) const {
    std::deque<PanelPass> passes;
    for (const PanelRows& p : panels) passes.emplace_back(feedback_, p.w, p.rows);
    const auto for_panels = [&](auto&& f) {
      parallel_for(static_cast<int64_t>(panels.size()),
                   [&](int64_t i) { f(panels[static_cast<size_t>(i)], passes[static_cast<size_t>(i)], i); });
    };
    int64_t rows = 0;
    for (const PanelRows& p : panels) rows += p.rows;
    for (int64_t block = 0; block < feedback_.blocks(); ++block) {
      const int64_t begin = feedback_.block_begin(block), size = feedback_.block_size(block);
      std::vector<float> scores(static_cast<size_t>(rows * size));
      std::vector<uint8_t> zero(scores.size());
      for_panels([&](const PanelRows& p, PanelPass& pass, int64_t i) {
        pass.begin_block(block);
        removal_costs(pass.target().column(0), feedback_.block_u(block), size, size, p.rows,
                      scores.data() + i * kRowsPerPanel * size);
      });
      mark_smallest(scores, zeros_among(sparsity_, rows * size), zero);
      for_panels([&](const PanelRows& p, PanelPass& pass, int64_t i) {
        for (int64_t r = 0; r < p.rows; ++r)
          std::copy_n(zero.begin() + (i * kRowsPerPanel + r) * size, size, p.zero.begin() + r * p.cols + begin);
        pass.choose_block([&](const ColumnGroup& g) { remove_masked(g, p); });
      });
    }
    for_panels([](const PanelRows& p, PanelPass& pass, int64_t) { pass.errors(p.values); });
  }

  const Sparsity sparsity_;
  const ErrorFeedback feedback_;
};

class SparseGpt final : public Pruner {
 public:
  std::string_view name() const override { return "sparsegpt"; }
  std::string_view describe() const override {
    return "the weights that the others make up for best, and they do, through the Hessian of the inputs";
  }
  bool needs_hessian() const override { return true; }
  std::unique_ptr<PreparedPruner> prepare(const Hessian* h, const Sparsity& s, double damping) const override {
    if (!h) fail(ErrorKind::internal, "sparsegpt was called without a Hessian");
    return std::make_unique<PreparedSparseGpt>(*h, s, damping);
  }
};

}  // namespace

const Pruner& pruner_sparsegpt() {
  static const SparseGpt sparsegpt;
  return sparsegpt;
}

}  // namespace kerf
