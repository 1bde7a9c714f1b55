// The inverse of H and W are downdated round by round with dense products; small blocks are inverted in double.
#define EIGEN_DONT_PARALLELIZE
#include "solver/column_elimination.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "solver/factor.h"

namespace kerf {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int64_t kRounds = 32;

size_t at(int64_t row, int64_t col, int64_t cols) { return static_cast<size_t>(row * cols + col); }

std::vector<float> inverse(const Factor& f) {
  std::vector<float> x(static_cast<size_t>(f.n * f.n));
  for (int64_t i = 0; i < f.n; ++i) x[at(i, i, f.n)] = 1;
  solve_rows(f, x);
  return x;
}

Matrix block(const std::vector<float>& m, int64_t n, std::span<const int64_t> ids) {
  const auto size = static_cast<int64_t>(ids.size());
  Matrix b(size, size);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t k = 0; k < size; ++k)
      b(i, k) = static_cast<double>(m[at(ids[static_cast<size_t>(i)], ids[static_cast<size_t>(k)], n)]);
  return b;
}

class Eliminator {
 public:
  Eliminator(const Hessian& h, std::span<const float> w, int64_t rows, const EliminationRequest& r)
      : r_(r), n_(h.n), rows_(rows), w_(w.begin(), w.end()), groups_(h.n / r.group) {
    gone_.assign(static_cast<size_t>(groups_), 0);
    signal_ = std::max(squared_outputs(h, w, rows), 1e-30);
    if (r.correct)
      m_ = inverse(factorize(h, r.damping));
    else
      m_ = h.values;
  }

  Elimination run() {
    Elimination e;
    e.importance = costs();
    for (double& x : e.importance) x /= signal_;
    if (r_.family > 0)
      remove_evenly();
    else
      remove_least();
    for (int64_t g = 0; g < groups_; ++g)
      if (!gone_[static_cast<size_t>(g)]) e.kept.push_back(g);
    return e;
  }

 private:
  std::vector<int64_t> columns_of_group(int64_t g) const {
    std::vector<int64_t> ids(static_cast<size_t>(r_.group));
    std::iota(ids.begin(), ids.end(), g * r_.group);
    return ids;
  }

  // What each group that is left costs now.
  std::vector<double> costs() const {
    std::vector<double> all(static_cast<size_t>(groups_));
    parallel_for(groups_, [&](int64_t g) {
      if (gone_[static_cast<size_t>(g)]) return;
      const std::vector<int64_t> ids = columns_of_group(g);
      Matrix products = Matrix::Zero(r_.group, r_.group);  // W_GT W_G
      for (int64_t row = 0; row < rows_; ++row) {
        const float* x = w_.data() + row * n_ + ids[0];
        for (int64_t i = 0; i < r_.group; ++i)
          for (int64_t k = 0; k < r_.group; ++k)
            products(i, k) += static_cast<double>(x[i]) * static_cast<double>(x[k]);
      }
      const Matrix b = block(m_, n_, ids);
      all[static_cast<size_t>(g)] = r_.correct ? b.llt().solve(products).trace() : (b * products).trace();
    });
    return all;
  }

  void remove_least() {
    for (int64_t left = groups_ - r_.keep; left > 0;) {
      const std::vector<double> cost = costs();
      std::vector<int64_t> order;
      for (int64_t g = 0; g < groups_; ++g)
        if (!gone_[static_cast<size_t>(g)]) order.push_back(g);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return cost[static_cast<size_t>(a)] < cost[static_cast<size_t>(b)];
      });
      const int64_t count = !r_.correct ? left : std::min(left, std::max<int64_t>(1, (groups_ - r_.keep) / kRounds));
      remove(std::span(order).first(static_cast<size_t>(count)));
      left -= count;
    }
  }

  // One group of every family at a time.
  void remove_evenly() {
    const int64_t families = groups_ / r_.family;
    for (int64_t left = (groups_ - r_.keep) / families; left > 0; --left) {
      const std::vector<double> cost = costs();
      std::vector<int64_t> least;
      for (int64_t family = 0; family < families; ++family) {
        int64_t best = -1;
        for (int64_t g = family * r_.family; g < (family + 1) * r_.family; ++g)
          if (!gone_[static_cast<size_t>(g)] &&
              (best < 0 || cost[static_cast<size_t>(g)] < cost[static_cast<size_t>(best)]))
            best = g;
        least.push_back(best);
      }
      remove(least);
    }
  }

  void remove(std::span<const int64_t> groups) {
    std::vector<int64_t> ids;
    for (const int64_t g : groups) {
      gone_[static_cast<size_t>(g)] = 1;
      for (const int64_t id : columns_of_group(g)) ids.push_back(id);
    }
    if (!r_.correct) return;
    // W -= W_S inverse(M_SS) M_S, and the same of M: what is left of them are those of the other columns alone.
    const auto size = static_cast<int64_t>(ids.size());
    const Matrix inverse_block = block(m_, n_, ids).llt().solve(Matrix::Identity(size, size));
    std::vector<float> step(static_cast<size_t>(n_ * size));  // M_S inverse(M_SS), [n, size]
    const std::vector<float> m_columns = columns_of(m_, n_, n_, ids);
    std::vector<float> inverse_floats(static_cast<size_t>(size * size));
    for (int64_t i = 0; i < size * size; ++i)
      inverse_floats[static_cast<size_t>(i)] = static_cast<float>(inverse_block.data()[i]);
    matmul_nt(n_, size, size, m_columns.data(), size, inverse_floats.data(), size, step.data(), size);
    subtract_product(w_, rows_, columns_of(w_, rows_, n_, ids), step, size);
    subtract_product(m_, n_, m_columns, step, size);
    for (const int64_t id : ids) {
      for (int64_t r = 0; r < rows_; ++r) w_[at(r, id, n_)] = 0;
      for (int64_t i = 0; i < n_; ++i) m_[at(i, id, n_)] = m_[at(id, i, n_)] = 0;
    }
  }

  // m [rows, n] -= a [rows, size] . step [n, size]T
  void subtract_product(std::vector<float>& m, int64_t rows, const std::vector<float>& a,
                        const std::vector<float>& step, int64_t size) const {
    std::vector<float> product(static_cast<size_t>(rows * n_));
    matmul_nt(rows, n_, size, a.data(), size, step.data(), size, product.data(), n_);
    for (size_t i = 0; i < product.size(); ++i) m[i] -= product[i];
  }

  const EliminationRequest r_;
  const int64_t n_, rows_;
  std::vector<float> w_, m_;  // of the columns that are left; m_: inverse of H, or H
  const int64_t groups_;
  std::vector<uint8_t> gone_;
  double signal_ = 0;
};

}  // namespace

std::vector<float> columns_of(std::span<const float> m, int64_t rows, int64_t cols, std::span<const int64_t> ids) {
  std::vector<float> picked;
  picked.reserve(static_cast<size_t>(rows) * ids.size());
  for (int64_t r = 0; r < rows; ++r)
    for (const int64_t id : ids) picked.push_back(m[at(r, id, cols)]);
  return picked;
}

Elimination eliminate_columns(const Hessian& h, std::span<const float> w, int64_t rows, const EliminationRequest& r) {
  const int64_t groups = r.group > 0 ? h.n / r.group : 0;
  const bool fits = groups * r.group == h.n && r.keep > 0 && r.keep <= groups &&
                    (r.family == 0 || (groups % r.family == 0 && (groups - r.keep) % (groups / r.family) == 0));
  if (!fits)
    fail(ErrorKind::usage, "of {} columns in groups of {} (families of {}) {} groups cannot stay", h.n, r.group,
         r.family, r.keep);
  return Eliminator(h, w, rows, r).run();
}

std::vector<float> refitted_columns(const Hessian& h, std::span<const float> w, int64_t rows,
                                    std::span<const int64_t> kept, double damping) {
  const auto size = static_cast<int64_t>(kept.size());
  Hessian of_kept(size);
  of_kept.tokens = h.tokens;
  std::vector<float> columns(static_cast<size_t>(size * h.n));  // H[kept, all]
  for (int64_t i = 0; i < size; ++i) {
    const float* row = h.row(kept[static_cast<size_t>(i)]);
    std::copy_n(row, h.n, columns.data() + i * h.n);
    for (int64_t k = 0; k < size; ++k) of_kept.values[at(i, k, size)] = row[kept[static_cast<size_t>(k)]];
  }
  const Factor factor = factorize(of_kept, damping);
  // W' (H_kk + damping I) = W H_k + damping W_k
  std::vector<float> refitted(static_cast<size_t>(rows * size));
  matmul_nt(rows, size, h.n, w.data(), h.n, columns.data(), h.n, refitted.data(), size);
  const auto added = static_cast<float>(factor.damping);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < size; ++k) refitted[at(r, k, size)] += added * w[at(r, kept[static_cast<size_t>(k)], h.n)];
  solve_rows(factor, refitted);
  return refitted;
}

}  // namespace kerf
