// Second moments, their factor, and error feedback beside textbook forms in double.
#define EIGEN_DONT_PARALLELIZE  // as in solver/factor.cc
#include <gtest/gtest.h>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <cmath>
#include <random>

#include "core/error.h"
#include "kernels/dense/dense.h"
#include "solver/asymmetric.h"
#include "solver/error_feedback.h"
#include "tests/support/activations.h"

namespace kerf {
namespace {

using test::activations, test::hessian_of;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix to_matrix(const float* v, int64_t rows, int64_t cols) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i) m.data()[i] = static_cast<double>(v[i]);
  return m;
}

std::vector<float> normal_weights(int64_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& v : w) v = normal(rng);
  return w;
}

TEST(Hessian, IsTheSumOfOuterProductsWithinTheRoundingOfItsInputs) {
  const int64_t n = 77, tokens = 1500;
  const auto x = activations(tokens, n);
  const Hessian h = hessian_of(x, n);
  const Matrix m = to_matrix(x.data(), tokens, n), exact = m.transpose() * m;
  EXPECT_EQ(h.tokens, tokens);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      // Each factor is rounded by at most 2^-9 (bf16); |sum of x_i x_j| of absolute values is at most the root of the
      // diagonal's product.
      const double bound = 2.1 * std::ldexp(1, -9) * std::sqrt(exact(i, i) * exact(j, j));
      EXPECT_NEAR(static_cast<double>(h.row(i)[j]), exact(i, j), bound);
      EXPECT_EQ(h.row(i)[j], h.row(j)[i]);
    }
}

TEST(Hessian, RefusesActivationsThatAreNotFinite) {
  std::vector<float> x(64, 1.0f);
  x[5] = INFINITY;
  Hessian h(8);
  h.add(x.data(), 8, 8);
  EXPECT_THROW(h.finish(), Error);
}

TEST(Hessian, PartsAddUpToTheWhole) {
  const int64_t n = 77, tokens = 4 * 1024 + 300, first = 2048;
  const auto x = activations(tokens, n);
  const Hessian whole = hessian_of(x, n);
  Hessian merged(n), next(n);
  merged.add(x.data(), first, n);
  next.add(x.data() + first * n, tokens - first, n);
  merged.finish();
  next.finish();
  merged.merge(next);
  EXPECT_EQ(merged.tokens, tokens);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      // Five batches, the same in both, are added in another order: four roundings each of partial sums that are at
      // most the root of the diagonal's product.
      const double bound = 2.01 * 4 * std::ldexp(1, -24) *
                           std::sqrt(static_cast<double>(whole.diagonal(i)) * static_cast<double>(whole.diagonal(j)));
      EXPECT_NEAR(static_cast<double>(merged.row(i)[j]), static_cast<double>(whole.row(i)[j]), bound);
      EXPECT_EQ(merged.row(i)[j], merged.row(j)[i]);
    }
  EXPECT_THROW(merged.merge(Hessian(n + 1)), Error);
  next.values.assign(next.values.size(), 3e38f);
  EXPECT_THROW(next.merge(next), Error);  // 6e38 is no float32
}

TEST(HessianNorms, AreTheSquaredOutputErrors) {
  const int64_t n = 300, rows = 150;
  const Hessian h = hessian_of(activations(900, n), n);
  const auto e = normal_weights(rows * n, 2);
  const std::vector<double> norms = hessian_norms(h, e, rows);
  const Matrix hm = to_matrix(h.values.data(), n, n), em = to_matrix(e.data(), rows, n);
  for (int64_t r = 0; r < rows; ++r) {
    const double exact = em.row(r) * hm * em.row(r).transpose();
    EXPECT_NEAR(norms[static_cast<size_t>(r)], exact, 1e-4 * exact);
  }
}

TEST(Factorize, GivesBackTheDampedHessian) {
  for (const int64_t n : {1, 31, 128, 129, 300}) {
    const Hessian h = hessian_of(activations(2 * n + 10, n), n);
    const Factor f = factorize(h, 0.01);
    const Matrix l = to_matrix(f.l.data(), n, n), back = l.transpose() * l;
    double mean = 0;
    for (int64_t i = 0; i < n; ++i) mean += static_cast<double>(h.diagonal(i)) / static_cast<double>(n);
    EXPECT_NEAR(f.damping, 0.01 * mean, 1e-6 * mean);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        if (j > i) {
          EXPECT_EQ(l(i, j), 0);
        }
        // Sums of n float32 products.
        EXPECT_NEAR(back(i, j), static_cast<double>(h.row(i)[j]) + (i == j ? f.damping : 0),
                    2e-5 * mean * std::sqrt(n));
      }
  }
}

TEST(Factorize, RaisesTheDampingUntilItSucceeds) {
  Hessian h(2);  // not positive definite by a little
  h.values = {1, 1.05f, 1.05f, 1};
  const Factor f = factorize(h, 0.001);
  EXPECT_EQ(f.attempts, 3);
  EXPECT_NEAR(f.damping, 0.1, 1e-6);
  h.values = {1, 5, 5, 1};
  EXPECT_THROW(factorize(h, 0.01), Error);
}

TEST(Factorize, CountsChannelsThatAreAlwaysZero) {
  std::vector<float> x = activations(50, 4);
  for (size_t t = 0; t < 50; ++t) x[t * 4 + 2] = 0;
  EXPECT_EQ(factorize(hessian_of(x, 4), 0.01).dead, 1);
  EXPECT_EQ(factorize(Hessian(3), 0.01).dead, 3);  // nothing was ever active: the identity
}

TEST(SolveRows, UndoesTheProductWithTheDampedHessian) {
  for (const int64_t n : {1, 31, 128, 300}) {
    const Hessian h = hessian_of(activations(2 * n + 10, n), n);
    const Factor f = factorize(h, 0.01);
    const int64_t rows = 5;
    const Matrix x = to_matrix(normal_weights(rows * n, 3).data(), rows, n);
    const Matrix b = x * (to_matrix(h.values.data(), n, n) + f.damping * Matrix::Identity(n, n));
    std::vector<float> got(static_cast<size_t>(rows * n));
    for (int64_t i = 0; i < rows * n; ++i) got[static_cast<size_t>(i)] = static_cast<float>(b.data()[i]);
    solve_rows(f, got);
    // The condition number is at most n mean / damping = 100 n, half of its digits are lost on the way to the factor
    // and half on the way back.
    const double bound = 100.0 * static_cast<double>(n) * std::ldexp(1, -24) * 8;
    EXPECT_LE((to_matrix(got.data(), rows, n) - x).norm(), bound * x.norm()) << n;
  }
}

// Activations that a compressed model would have: something of each is lost, something is mixed into it.
std::vector<float> disturbed(const std::vector<float>& x, int64_t n, unsigned seed) {
  const auto noise = activations(static_cast<int64_t>(x.size()) / n, n, seed);
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = 0.9f * x[i] + 0.1f * x[i / static_cast<size_t>(n) * static_cast<size_t>(n)] + 0.1f * noise[i];
  return y;
}

struct Disturbed {
  int64_t n, m, tokens;
  std::vector<float> full_x, x, full_h, h;
  Disturbed(int64_t width, int64_t hidden, int64_t count, unsigned seed)
      : n(width),
        m(hidden),
        tokens(count),
        full_x(activations(count, n, seed)),
        x(disturbed(full_x, n, seed + 1)),
        full_h(activations(count, m, seed + 2)),
        h(disturbed(full_h, m, seed + 3)) {}
  AsymmetricMoments asymmetric_moments(int64_t first, int64_t count) const {
    AsymmetricMoments s(n, m);
    s.add(x.data() + first * n, full_x.data() + first * n, h.data() + first * m, full_h.data() + first * m, count);
    return s;
  }
  Hessian hessian(int64_t first, int64_t count) const {
    Hessian result(n);
    result.add(x.data() + first * n, count, n);
    result.finish();
    return result;
  }
  // What is missing of the outputs of w, [tokens, m].
  Matrix missing(const Matrix& w) const {
    return to_matrix(full_h.data(), tokens, m) - to_matrix(h.data(), tokens, m) +
           (to_matrix(full_x.data(), tokens, n) - to_matrix(x.data(), tokens, n)) * w.transpose();
  }
};

TEST(AsymmetricMoments, CorrectedWeightsAreTheDampedLeastSquaresOfWhatIsMissing) {
  const int64_t n = 70, m = 40, tokens = 2500;
  const Disturbed d(n, m, tokens, 4);
  const Hessian h = d.hessian(0, tokens);
  const Factor f = factorize(h, 0.01);
  const auto w = normal_weights(m * n, 8);
  std::vector<float> moved = w;
  // Judged by what it was fitted to (and so little damped that more would not do better): all of it is taken.
  const double strength =
      shift_towards_full_precision(moved, d.asymmetric_moments(0, tokens), f, d.asymmetric_moments(0, tokens), h);
  EXPECT_GT(strength, 0.99);
  const Matrix wm = to_matrix(w.data(), m, n), xm = to_matrix(d.x.data(), tokens, n), missing = d.missing(wm);
  const Matrix damped = xm.transpose() * xm + f.damping * Matrix::Identity(n, n);
  const Matrix exact = damped.llt().solve(xm.transpose() * missing).transpose();
  const Matrix got = to_matrix(moved.data(), m, n) - wm;
  // Moments of numbers rounded to bf16 (2^-9 of each), in the Hessian and in what is missing.
  EXPECT_LE((got - exact).norm(), 0.02 * exact.norm());
}

TEST(AsymmetricMoments, InputsThatHaveGoneAreMissingWhole) {
  const int64_t n = 40, full = 60, m = 30, tokens = 2500;
  const std::vector<float> full_x = activations(tokens, full, 4);
  std::vector<float> kept;
  for (int64_t t = 0; t < tokens; ++t)
    kept.insert(kept.end(), full_x.begin() + t * full, full_x.begin() + t * full + n);
  const std::vector<float> x = disturbed(kept, n, 5);
  AsymmetricMoments s(n, 0, full);
  s.add(x.data(), full_x.data(), nullptr, nullptr, tokens);
  const Hessian h = hessian_of(x, n);
  const Factor f = factorize(h, 0.01);
  const auto whole = normal_weights(m * full, 8);
  std::vector<float> moved;
  for (int64_t r = 0; r < m; ++r) moved.insert(moved.end(), whole.begin() + r * full, whole.begin() + r * full + n);
  const Matrix before = to_matrix(moved.data(), m, n);
  EXPECT_GT(shift_towards_full_precision(moved, whole, s, f, s, h), 0.98);
  const Matrix xm = to_matrix(x.data(), tokens, n);
  const Matrix missing =
      to_matrix(full_x.data(), tokens, full) * to_matrix(whole.data(), m, full).transpose() - xm * before.transpose();
  const Matrix damped = xm.transpose() * xm + f.damping * Matrix::Identity(n, n);
  const Matrix exact = damped.llt().solve(xm.transpose() * missing).transpose();
  EXPECT_LE((to_matrix(moved.data(), m, n) - before - exact).norm(), 0.03 * exact.norm());
}

TEST(AsymmetricMoments, TheStrengthIsTheBestForTokensThatWereNotFitted) {
  // 100 tokens for 70 channels: most of what they explain is chance.
  const int64_t n = 70, m = 40, fitted = 100, held = 2000;
  const Disturbed d(n, m, fitted + held, 4);
  const auto w = normal_weights(m * n, 8);
  const Factor f = factorize(d.hessian(0, fitted), 0.001);
  std::vector<float> moved = w;
  const double strength = shift_towards_full_precision(moved, d.asymmetric_moments(0, fitted), f,
                                                       d.asymmetric_moments(fitted, held), d.hessian(fitted, held));
  EXPECT_LT(strength, 0.9);
  ASSERT_GT(strength, 0.01);
  const Matrix wm = to_matrix(w.data(), m, n), step = (to_matrix(moved.data(), m, n) - wm) / strength;
  const Matrix x = to_matrix(d.x.data(), fitted + held, n).bottomRows(held), missing = d.missing(wm).bottomRows(held);
  const auto loss = [&](double s) { return (missing - x * (s * step).transpose()).squaredNorm(); };
  EXPECT_LT(loss(strength), loss(0));
  EXPECT_LT(loss(strength), loss(0.8 * strength));
  EXPECT_LT(loss(strength), loss(1.2 * strength));
}

TEST(AsymmetricMoments, OfEqualActivationsMovesNoWeight) {
  const int64_t n = 33, tokens = 500;
  const auto x = activations(tokens, n);
  AsymmetricMoments s(n, 0);
  s.add(x.data(), x.data(), nullptr, nullptr, tokens);
  const auto w = normal_weights(7 * n, 2);
  const Hessian h = hessian_of(x, n);
  std::vector<float> moved = w;
  EXPECT_EQ(shift_towards_full_precision(moved, s, factorize(h, 0.01), s, h), 0);
  EXPECT_EQ(moved, w);
}

// A grid of whole multiples of a step.
float nearest(float x) { return 0.02f * std::nearbyint(x / 0.02f); }

void choose_nearest(const ColumnGroup& u) {
  for (int64_t r = 0; r < kRowsPerPanel; ++r) {
    std::vector<float> t(static_cast<size_t>(u.size));
    for (int64_t k = 0; k < u.size; ++k) t[static_cast<size_t>(k)] = u.target[k * kRowsPerPanel + r];
    for (int64_t k = 0; k < u.size; ++k) {
      const float q = nearest(t[static_cast<size_t>(k)]);
      const float f = (t[static_cast<size_t>(k)] - q) / u.u[k * u.stride + k];
      u.q[k * kRowsPerPanel + r] = q;
      u.f[k * kRowsPerPanel + r] = f;
      for (int64_t j = k + 1; j < u.size; ++j) t[static_cast<size_t>(j)] -= f * u.u[k * u.stride + j];
    }
  }
}

// GPTQ as its paper writes it: the upper Cholesky factor of the inverse, column by column, in double.
Matrix textbook(const Matrix& h, double damping, Matrix w) {
  const int64_t n = h.rows();
  const Matrix damped = h + damping * Matrix::Identity(n, n);
  const Matrix u = Eigen::LLT<Matrix>(damped.inverse()).matrixU();
  Matrix q = w;
  for (int64_t k = 0; k < n; ++k)
    for (int64_t r = 0; r < w.rows(); ++r) {
      q(r, k) = static_cast<double>(nearest(static_cast<float>(w(r, k))));
      const double f = (w(r, k) - q(r, k)) / u(k, k);
      for (int64_t j = k; j < n; ++j) w(r, j) -= f * u(k, j);
    }
  return q;
}

TEST(FallingOrder, TakesWholePartsThatHoldTheMostFirst) {
  Hessian h(11);
  const std::vector<float> diagonal = {1, 2, 3, 1, 9, 0, 0, 8, 5, 1, 100};
  for (int64_t i = 0; i < h.n; ++i) h.values[static_cast<size_t>(i * h.n + i)] = diagonal[static_cast<size_t>(i)];
  const int64_t pairs[] = {4, 2};
  // Four columns hold 7 and 17; their pairs 3 and 4, 9 and 8; what no part holds comes last.
  EXPECT_EQ(falling_order(h, pairs), (std::vector<int64_t>{4, 5, 6, 7, 2, 3, 0, 1, 8, 9, 10}));
  const int64_t columns[] = {4, 1};
  EXPECT_EQ(falling_order(h, columns), (std::vector<int64_t>{4, 7, 5, 6, 2, 1, 0, 3, 8, 9, 10}));
}

TEST(ErrorFeedback, ChoosesWhatTheTextbookFormChooses) {
  const int64_t n = 200, rows = 40;
  const Hessian h = hessian_of(activations(600, n), n);
  const auto w = normal_weights(rows * n, 3);
  for (const int64_t group : {16, 32, 128}) {
    const int64_t parts[] = {group, 1};
    const std::vector<int64_t> order = falling_order(h, parts);
    const ErrorFeedback feedback(h, 0.01, group, group, false, order);
    std::vector<float> e(w.size());
    feedback.choose(w, rows, e, choose_nearest);
    Matrix in_order_h(n, n), in_order_w(rows, n), q(rows, n);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t column = order[static_cast<size_t>(k)];
      for (int64_t i = 0; i < n; ++i)
        in_order_h(i, k) = static_cast<double>(h.row(order[static_cast<size_t>(i)])[column]);
      for (int64_t r = 0; r < rows; ++r) in_order_w(r, k) = static_cast<double>(w[static_cast<size_t>(r * n + column)]);
    }
    const Matrix chosen = textbook(in_order_h, feedback.factor().damping, in_order_w);
    for (int64_t k = 0; k < n; ++k) q.col(order[static_cast<size_t>(k)]) = chosen.col(k);
    // A target within float32 rounding of the middle between two grid points may fall to either side, and what follows
    // in its row with it: a few rows of 40 may differ after such a tie.
    int different = 0;
    for (int64_t r = 0; r < rows; ++r) {
      bool same = true;
      for (int64_t k = 0; k < n; ++k) {
        const auto i = static_cast<size_t>(r * n + k);
        same = same && std::abs(static_cast<double>(w[i] - e[i]) - q(r, k)) < 1e-4;
      }
      different += !same;
    }
    EXPECT_LE(different, 3) << "group " << group;
  }
}

TEST(ErrorFeedback, RefiningKnowsTheLossOfThePresentValues) {
  const int64_t n = 96, rows = 20, group = 32;
  const Hessian h = hessian_of(activations(400, n), n);
  const auto w = normal_weights(rows * n, 4);
  const ErrorFeedback feedback(h, 0.01, group, group, true);
  std::vector<float> e(w.size());
  feedback.choose(w, rows, e, choose_nearest);
  const std::vector<float> before = e;
  // best is the loss above that of the group's best real values: |f|^2 of the present values must equal it.
  feedback.refine(w, rows, e, [&](const ColumnGroup& u) {
    for (int64_t r = 0; r < rows; ++r) {
      double loss = 0;
      std::vector<double> t(static_cast<size_t>(group));
      for (int64_t k = 0; k < group; ++k)
        t[static_cast<size_t>(k)] = static_cast<double>(u.target[k * kRowsPerPanel + r]);
      for (int64_t k = 0; k < group; ++k) {
        const double f = (t[static_cast<size_t>(k)] - static_cast<double>(u.q[k * kRowsPerPanel + r])) /
                         static_cast<double>(u.u[k * u.stride + k]);
        loss += f * f;
        for (int64_t j = k + 1; j < group; ++j)
          t[static_cast<size_t>(j)] -= f * static_cast<double>(u.u[k * u.stride + j]);
      }
      EXPECT_NEAR(loss, static_cast<double>(u.best[r]), 2e-3 * loss + 1e-9);
    }
  });
  // q came back as it was.
  for (size_t i = 0; i < e.size(); ++i) EXPECT_NEAR(e[i], before[i], 1e-7f);
}

TEST(Feedback, EveryInstructionSetSubtractsTheSameProducts) {
  const int64_t columns = 13, terms = 9, stride = 40;
  alignas(64) static float t[13 * kRowsPerPanel], e[9 * kRowsPerPanel];
  std::mt19937 rng(8);
  std::normal_distribution<float> normal;
  std::vector<float> u(static_cast<size_t>(terms * stride));
  for (float& v : u) v = normal(rng);
  for (float& v : e) v = normal(rng);
  for (const Feedback* f : all_feedbacks()) {
    if (f->isa > cpu_isa()) continue;
    std::fill(std::begin(t), std::end(t), 1.0f);
    f->subtract(t, columns, e, terms, u.data(), stride);
    for (int64_t k = 0; k < columns; ++k)
      for (int64_t r = 0; r < kRowsPerPanel; ++r) {
        double exact = 1, size = 1;
        for (int64_t m = 0; m < terms; ++m) {
          const double product = static_cast<double>(u[static_cast<size_t>(m * stride + k)]) *
                                 static_cast<double>(e[m * kRowsPerPanel + r]);
          exact -= product;
          size += std::abs(product);
        }
        // terms + 1 roundings of partial sums no larger than `size`.
        EXPECT_NEAR(static_cast<double>(t[k * kRowsPerPanel + r]), exact, size * 12 * std::ldexp(1, -24));
      }
  }
}

TEST(Hessian, RoundedInputsChooseCodesThatAreAsGood) {
  // Where the CPU multiplies bf16 faster, statistics are of rounded activations; judged by the exact ones, the codes
  // that they choose lose as much as those of the exact ones, but for the scatter of equally good choices.
  const int64_t n = 256, tokens = 4096, rows = kRowsPerPanel;
  const auto x = activations(tokens, n);
  const Hessian h = hessian_of(x, n);
  Hessian exact(n);
  add_product_tn(tokens, n, n, x.data(), n, x.data(), n, exact.values.data(), false);
  exact.tokens = tokens;
  double difference = 0, size = 0;
  for (size_t i = 0; i < h.values.size(); ++i) {
    difference += std::pow(static_cast<double>(h.values[i] - exact.values[i]), 2);
    size += std::pow(static_cast<double>(exact.values[i]), 2);
  }
  EXPECT_LE(std::sqrt(difference / size), std::ldexp(1, -9));  // signs of the roundings are independent
  const auto w = normal_weights(rows * n, 9);
  const auto loss = [&](const Hessian& statistics) {
    const ErrorFeedback feedback(statistics, 0.01, 32, 32, false);
    std::vector<float> e(w.size());
    feedback.choose(w, rows, e, choose_nearest);
    double sum = 0;
    for (const double norm : hessian_norms(exact, e, rows)) sum += norm;
    return sum;
  };
  const double lost = loss(h), least = loss(exact);
  EXPECT_NEAR(lost, least, 0.01 * least);
}

}  // namespace
}  // namespace kerf
