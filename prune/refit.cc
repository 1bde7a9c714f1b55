// Preconditioned by the diagonal. Rows differ in their support and share H: a step is one dense product for a panel of
// rows, projected to the support of each.
#include "prune/refit.h"

#include <algorithm>
#include <vector>

#include "core/checked.h"
#include "core/parallel.h"
#include "kernels/dense/dense_panel.h"
#include "solver/factor.h"

namespace kerf {
namespace {

constexpr int64_t kRows = 64;
constexpr int kMostSteps = 200;
// A row is done when the preconditioned norm of its residual is this much smaller than before anything made up for its
// zeros: the error is then within about the square of it, 1e-6, of the least.
constexpr double kDone = 1e-3;

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return sum;
}

// One panel: e = w - v [rows, n].
class PanelRefit {
 public:
  PanelRefit(const Hessian& h, float damping, const uint8_t* zero, int64_t rows)
      : h_(h), n_(h.n), rows_(rows), damping_(damping), zero_(zero), product_(static_cast<size_t>(rows * h.n)) {
    for (int64_t k = 0; k < n_; ++k) inverse_.push_back(1 / (h.diagonal(k) + damping));
  }

  // e (H + damping I) eT of each row.
  std::vector<double> errors(const std::vector<float>& e) {
    multiply(e);
    std::vector<double> all;
    for (int64_t r = 0; r < rows_; ++r) all.push_back(dot(e.data() + r * n_, product_.data() + r * n_, n_));
    return all;
  }

  // `bare`: e where nothing makes up for the zeros.
  void solve(const std::vector<float>& bare, std::vector<float>& e) {
    std::vector<float> residual, z;
    const std::vector<double> asked = residual_of(bare, residual, z);
    std::vector<double> size = residual_of(e, residual, z);
    std::vector<float> step = z;
    for (int i = 0; i < kMostSteps && unfinished(size, asked); ++i) {
      multiply(step);
      for (int64_t r = 0; r < rows_; ++r) {
        const auto row = static_cast<size_t>(r);
        float *p = step.data() + r * n_, *res = residual.data() + r * n_;
        const float* product = product_.data() + r * n_;
        const double curvature = dot(p, product, n_);
        if (done(size[row], asked[row]) || !(curvature > 0)) {
          std::fill_n(p, n_, 0.0f);
          size[row] = 0;
          continue;
        }
        const auto length = static_cast<float>(size[row] / curvature);
        for (int64_t k = 0; k < n_; ++k) {
          e[static_cast<size_t>(r * n_ + k)] -= length * p[k];
          res[k] -= free(r, k) ? length * product[k] : 0.0f;
          z[static_cast<size_t>(r * n_ + k)] = res[k] * inverse_[static_cast<size_t>(k)];
        }
        const double next = dot(res, z.data() + r * n_, n_);
        const auto kept = static_cast<float>(next / size[row]);
        for (int64_t k = 0; k < n_; ++k) p[k] = z[static_cast<size_t>(r * n_ + k)] + kept * p[k];
        size[row] = next;
      }
    }
  }

 private:
  bool free(int64_t r, int64_t k) const { return zero_[r * n_ + k] == 0; }
  static bool done(double size, double asked) { return size <= kDone * kDone * asked; }
  bool unfinished(const std::vector<double>& size, const std::vector<double>& asked) const {
    for (size_t r = 0; r < size.size(); ++r)
      if (!done(size[r], asked[r])) return true;
    return false;
  }

  void multiply(const std::vector<float>& x) {
    matmul_nt_on_this_thread(rows_, n_, n_, x.data(), n_, h_.values.data(), n_, product_.data(), n_, false);
    for (size_t i = 0; i < x.size(); ++i) product_[i] += damping_ * x[i];
  }

  // The free part of e (H + damping I), that divided by the diagonal, and the products of both by rows.
  std::vector<double> residual_of(const std::vector<float>& e, std::vector<float>& residual, std::vector<float>& z) {
    multiply(e);
    residual = product_;
    z.resize(residual.size());
    std::vector<double> size;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t k = 0; k < n_; ++k) {
        const auto i = static_cast<size_t>(r * n_ + k);
        if (!free(r, k)) residual[i] = 0;
        z[i] = residual[i] * inverse_[static_cast<size_t>(k)];
      }
      size.push_back(dot(residual.data() + r * n_, z.data() + r * n_, n_));
    }
    return size;
  }

  const Hessian& h_;
  const int64_t n_, rows_;
  const float damping_;
  const uint8_t* const zero_;
  std::vector<float> inverse_, product_;
};

}  // namespace

void refit(const Hessian& h, double relative, std::span<const float> w, int64_t rows, PrunedMatrix& p) {
  const auto damping = static_cast<float>(first_damping(h, relative));
  parallel_for(ceil_div(rows, kRows), [&](int64_t panel) {
    const int64_t begin = panel * kRows, count = std::min(kRows, rows - begin);
    const auto first = static_cast<size_t>(begin * h.n), size = static_cast<size_t>(count * h.n);
    const uint8_t* zero = p.mask.zero.data() + first;
    std::vector<float> bare(size), before(size), e(size);
    for (size_t i = 0; i < size; ++i) {
      bare[i] = zero[i] != 0 ? w[first + i] : 0.0f;
      e[i] = before[i] = w[first + i] - p.values[first + i];
    }
    PanelRefit solver(h, damping, zero, count);
    solver.solve(bare, e);
    const std::vector<double> old_errors = solver.errors(before), new_errors = solver.errors(e);
    for (int64_t r = 0; r < count; ++r) {
      if (!(new_errors[static_cast<size_t>(r)] < old_errors[static_cast<size_t>(r)])) continue;
      for (int64_t k = 0; k < h.n; ++k) {
        const auto i = static_cast<size_t>(r * h.n + k);
        p.values[first + i] = zero[i] != 0 ? 0.0f : w[first + i] - e[i];
      }
    }
  });
}

}  // namespace kerf
