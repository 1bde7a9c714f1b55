// Every quantizer in the table, and what GPTQ promises.
#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "core/error.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "quant/awq.h"
#include "solver/error_feedback.h"

namespace kerf {
namespace {

std::vector<float> normal(int64_t n, float sigma = 0.05f, unsigned seed = 5) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, sigma);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}

// Inputs of n channels with a shared direction, and one loud channel.
Statistics statistics_of(int64_t n) {
  const int64_t tokens = 4 * n;
  std::vector<float> x = normal(tokens * n, 1.0f, 7);
  for (int64_t t = 0; t < tokens; ++t) {
    const float common = x[static_cast<size_t>(t * n)];
    for (int64_t c = 0; c < n; ++c) x[static_cast<size_t>(t * n + c)] += c % 3 ? common : -0.5f * common;
    x[static_cast<size_t>(t * n + n / 2)] *= 6;
  }
  Statistics s{Hessian(n)};
  s.hessian.add(x.data(), tokens, n);
  s.hessian.finish();
  return s;
}

QuantizedMatrix run(const Quantizer& q, std::span<const float> w, int64_t rows, int64_t cols, const Scheme& scheme,
                    Statistics& s, const QuantizerOptions& o = {}) {
  q.prepare(s, scheme, o);
  return q.quantize(w, rows, cols, scheme, &s, o);
}

double loss(const Statistics& s, std::span<const float> w, const QuantizedMatrix& q) {
  std::vector<float> e(w.size());
  find_grid(q.scheme.grid).decode(q, e);
  for (size_t i = 0; i < e.size(); ++i) e[i] = w[i] - e[i];
  const std::vector<double> norms = hessian_norms(s.hessian, e, q.rows);
  return std::accumulate(norms.begin(), norms.end(), 0.0);
}

TEST(Rtn, TakesImportanceAsItTakesAHessiansDiagonal) {
  const int64_t n = 96;
  const std::vector<float> w = normal(4 * n);
  const Statistics full = statistics_of(n);
  Statistics diagonal{Hessian(0)};
  for (int64_t c = 0; c < n; ++c) diagonal.importance.push_back(full.hessian.diagonal(c));
  const Quantizer& rtn = find_quantizer("rtn");
  const Scheme scheme = symmetric_int(4, 32, Dtype::f16);
  const QuantizedMatrix q = rtn.quantize(w, 4, n, scheme, &diagonal, {});
  EXPECT_EQ(q.codes, rtn.quantize(w, 4, n, scheme, &full, {}).codes);
  EXPECT_NE(q.codes, rtn.quantize(w, 4, n, scheme, nullptr, {}).codes);
}

std::vector<Scheme> schemes() {
  return {symmetric_int(4, 32, Dtype::f16),  symmetric_int(3, 96, Dtype::bf16), symmetric_int(2, 16, Dtype::f32),
          symmetric_int(4, 0, Dtype::f16),   symmetric_int(8, 0, Dtype::f32),   asymmetric_int(4, 32, Dtype::f16),
          asymmetric_int(2, 96, Dtype::bf16)};
}

TEST(EveryQuantizer, KeepsNumbersThatAreOnTheGrid) {
  const Scheme s = symmetric_int(4, 32, Dtype::f32);
  QuantizedMatrix on_grid = allocate(s, 8, 64);
  std::mt19937 rng(6);
  for (uint8_t& c : on_grid.codes) c = static_cast<uint8_t>(rng() & 15u);
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t g = 0; g < 2; ++g) {
      on_grid.params[0].set(r, g, 0.25f);
      on_grid.codes[static_cast<size_t>(r * 64 + g * 32)] = 0;  // the largest magnitude says what the scale is
    }
  std::vector<float> w(8 * 64), back(8 * 64);
  find_grid("int").decode(on_grid, w);
  Statistics statistics = statistics_of(64);
  for (const Quantizer* q : all_quantizers()) {
    find_grid("int").decode(run(*q, w, 8, 64, s, statistics), back);
    for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(back[i], w[i], 1e-6f) << q->name();
  }
}

TEST(EveryQuantizer, GivesTheSameBitsForAnyNumberOfThreads) {
  const auto w = normal(150 * 96);
  Statistics statistics = statistics_of(96);
  for (const Quantizer* q : all_quantizers())
    for (const Scheme& s : schemes()) {
      std::vector<QuantizedMatrix> results;
      for (const int n : {1, 2, 3}) {
        set_threads(n);
        results.push_back(run(*q, w, 150, 96, s, statistics));
      }
      set_threads(0);
      EXPECT_EQ(results[0], results[1]) << q->name() << " " << describe(s);
      EXPECT_EQ(results[0], results[2]) << q->name() << " " << describe(s);
    }
}

TEST(EveryQuantizer, RefusesAGroupThatDoesNotDivide) {
  const auto w = normal(4 * 96);
  Statistics statistics = statistics_of(96);
  for (const Quantizer* q : all_quantizers())
    EXPECT_THROW(run(*q, w, 4, 96, symmetric_int(4, 64, Dtype::bf16), statistics), Error);
}

TEST(FindQuantizer, NamesTheMethods) {
  try {
    find_quantizer("magic");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("rtn"), std::string::npos);
  }
}

TEST(Gptq, EqualsRtnWhenTheHessianIsAMultipleOfTheIdentity) {
  const auto w = normal(70 * 96);
  Statistics s{Hessian(96)};
  for (int64_t i = 0; i < 96; ++i)
    s.hessian.values[static_cast<size_t>(i * 97)] = 4.0f;  // a power of two scales every sum exactly
  for (const Scheme& scheme : schemes()) {
    const QuantizedMatrix rtn = run(find_quantizer("rtn"), w, 70, 96, scheme, s);
    const QuantizedMatrix gptq = run(find_quantizer("gptq"), w, 70, 96, scheme, s, {.refine = 0});
    EXPECT_EQ(rtn.params, gptq.params) << describe(scheme);
    // Both round the quotient with the scale; one multiplies by its inverse in another order, so ties may differ.
    int different = 0;
    for (size_t i = 0; i < rtn.codes.size(); ++i) different += rtn.codes[i] != gptq.codes[i];
    EXPECT_LE(different, 2) << describe(scheme);
  }
}

TEST(Gptq, LosesLessThanRtnAndEveryPassLosesLessThanTheLast) {
  const auto w = normal(70 * 96);
  Statistics s = statistics_of(96);
  for (const Scheme& scheme : schemes()) {
    double before = loss(s, w, run(find_quantizer("rtn"), w, 70, 96, scheme, s));
    for (const int refine : {0, 1, 2, 4}) {
      const double now = loss(s, w, run(find_quantizer("gptq"), w, 70, 96, scheme, s, {.refine = refine}));
      EXPECT_LT(now, before * (refine == 0 ? 0.95 : 1.0001)) << describe(scheme) << " refine " << refine;
      before = now;
    }
  }
}

// All 4^6 ways to write a row of six weights in two bits under fixed parameters.
TEST(Gptq, ComesCloseToTheBestOfAllCodesOnSmallProblems) {
  const int64_t n = 6, rows = 20;
  const auto w = normal(rows * n, 0.05f, 11);
  Statistics s = statistics_of(n);
  const Scheme scheme = symmetric_int(2, 0, Dtype::f32);
  const QuantizedMatrix q = run(find_quantizer("gptq"), w, rows, n, scheme, s, {.refine = 3});
  const QuantizedMatrix rtn = run(find_quantizer("rtn"), w, rows, n, scheme, s);
  const Grid& grid = find_grid("int");
  double best_total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    double best = INFINITY;
    for (uint32_t code = 0; code < 4096; ++code) {
      double e[6], sum = 0;
      for (int64_t c = 0; c < n; ++c)
        e[c] = static_cast<double>(w[static_cast<size_t>(r * n + c)]) -
               static_cast<double>(grid.value(scheme, grid.effective(q, r, c), code >> (2 * c) & 3u));
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) sum += e[i] * e[j] * static_cast<double>(s.hessian.row(i)[j]);
      best = std::min(best, sum);
    }
    best_total += best;
  }
  const double own = loss(s, w, q);
  EXPECT_GE(own, best_total * 0.9999);  // nothing is better than the best
  EXPECT_LE(own, best_total * 1.25);
  EXPECT_GE(loss(s, w, rtn), best_total * 1.25);
}

TEST(Awq, ScalesLoudChannelsUpAndLosesLess) {
  const int64_t n = 96, rows = 70;
  const auto w = normal(rows * n);
  const Statistics s = statistics_of(n);
  const Scheme scheme = symmetric_int(3, 32, Dtype::f16);
  const ScaledSite site{w, rows, scheme};
  std::vector<int64_t> source(static_cast<size_t>(n));
  std::iota(source.begin(), source.end(), 0);
  const ScaleChoice choice = awq_scales(std::span(&site, 1), s.hessian, source, false);
  EXPECT_GT(choice.alpha, 0);
  EXPECT_GT(choice.scales[static_cast<size_t>(n / 2)], 1.0f);

  Statistics scaled_statistics{scaled(s.hessian, choice.scales)};
  const std::vector<float> scaled_w = scale_columns(w, choice.scales);
  const Quantizer& rtn = find_quantizer("rtn");
  Statistics plain = s;
  EXPECT_LT(loss(scaled_statistics, scaled_w, run(rtn, scaled_w, rows, n, scheme, scaled_statistics)),
            loss(plain, w, run(rtn, w, rows, n, scheme, plain)));
}

TEST(Awq, GivesPowersOfTwoAndTiesChannelsWhenAsked) {
  const int64_t n = 96;
  const auto w = normal(70 * n);
  const Statistics s = statistics_of(n);
  const Scheme scheme = symmetric_int(3, 32, Dtype::f16);
  const ScaledSite site{w, 70, scheme};
  std::vector<int64_t> source(static_cast<size_t>(n));
  for (int64_t c = 0; c < n; ++c) source[static_cast<size_t>(c)] = c / 32 / 2 * 32 + c % 32;  // heads 0 and 1 share
  const ScaleChoice choice = awq_scales(std::span(&site, 1), s.hessian, source, true);
  for (int64_t c = 0; c < n; ++c) {
    int exponent;
    EXPECT_EQ(std::frexp(choice.scales[static_cast<size_t>(c)], &exponent), 0.5f);
    if (c < 32) {
      EXPECT_EQ(choice.scales[static_cast<size_t>(c)], choice.scales[static_cast<size_t>(c + 32)]);
    }
  }
}

}  // namespace
}  // namespace kerf
