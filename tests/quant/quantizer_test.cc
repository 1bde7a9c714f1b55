// Every quantizer in the table, and what GPTQ promises.
#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "core/error.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "quant/awq.h"

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
InputStatistics statistics_of(int64_t n) {
  const int64_t tokens = 4 * n;
  std::vector<float> x = normal(tokens * n, 1.0f, 7);
  for (int64_t t = 0; t < tokens; ++t) {
    const float common = x[static_cast<size_t>(t * n)];
    for (int64_t c = 0; c < n; ++c) x[static_cast<size_t>(t * n + c)] += c % 3 ? common : -0.5f * common;
    x[static_cast<size_t>(t * n + n / 2)] *= 6;
  }
  InputStatistics s{.fitted = Hessian(n)};
  s.fitted.add(x.data(), tokens, n);
  s.fitted.finish();
  return s;
}

QuantizedMatrix run(const Quantizer& q, std::span<const float> w, int64_t rows, int64_t cols, const Scheme& scheme,
                    const InputStatistics& s, const QuantizerOptions& o = {}, const Mask* mask = nullptr) {
  return q.prepare(&s, scheme, o)->quantize(w, rows, cols, mask);
}

double loss(const InputStatistics& s, std::span<const float> w, const QuantizedMatrix& q, double damping = 0) {
  std::vector<float> e(w.size());
  find_grid(q.scheme.grid).decode(q, e);
  for (size_t i = 0; i < e.size(); ++i) e[i] = w[i] - e[i];
  const std::vector<double> norms = hessian_norms(s.fitted, e, q.rows);
  double sum = std::accumulate(norms.begin(), norms.end(), 0.0);
  for (const float x : e) sum += damping * static_cast<double>(x) * static_cast<double>(x);
  return sum;
}

TEST(Rtn, TakesImportanceAsItTakesAHessiansDiagonal) {
  const int64_t n = 96;
  const std::vector<float> w = normal(4 * n);
  const InputStatistics full = statistics_of(n);
  InputStatistics diagonal;
  for (int64_t c = 0; c < n; ++c) diagonal.importance.push_back(full.fitted.diagonal(c));
  const Quantizer& rtn = find_quantizer("rtn");
  const Scheme scheme = symmetric_int(4, 32, Dtype::f16);
  const QuantizedMatrix q = rtn.prepare(&diagonal, scheme, {})->quantize(w, 4, n);
  EXPECT_EQ(q.codes, rtn.prepare(&full, scheme, {})->quantize(w, 4, n).codes);
  EXPECT_NE(q.codes, rtn.prepare(nullptr, scheme, {})->quantize(w, 4, n).codes);
}

TEST(Rtn, CountsLargeWeightsMoreWhereTheyShareAWord) {
  const std::vector<float> w = normal(16 * 256);
  float largest = 0;
  for (const float x : w) largest = std::max(largest, std::abs(x));
  const auto error_of_large = [&](const QuantizedMatrix& q) {
    std::vector<float> values(w.size());
    find_grid(q.scheme.grid).decode(q, values);
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i)
      if (std::abs(w[i]) > largest / 2) sum += static_cast<double>((w[i] - values[i]) * (w[i] - values[i]));
    return sum;
  };
  for (const Scheme& scheme : {codebook_words("iq1_s", 2, 8, 32, 4), codebook_words("iq3_xxs", 4, 8, 32)}) {
    QuantizedMatrix alike = allocate(scheme, 16, 256);
    find_grid(scheme.grid).fit_and_encode(w, {}, alike);
    const QuantizedMatrix q = find_quantizer("rtn").prepare(nullptr, scheme, {})->quantize(w, 16, 256);
    EXPECT_LT(error_of_large(q), 0.95 * error_of_large(alike)) << scheme.grid;
  }
}

std::vector<Scheme> schemes() {
  return {symmetric_int(4, 32, Dtype::f16),  symmetric_int(3, 96, Dtype::bf16), symmetric_int(2, 16, Dtype::f32),
          symmetric_int(4, 0, Dtype::f16),   symmetric_int(8, 0, Dtype::f32),   asymmetric_int(4, 32, Dtype::f16),
          asymmetric_int(2, 96, Dtype::bf16)};
}

std::vector<std::pair<std::string, Scheme>> gguf_schemes() {
  return {{"Q4_K", two_level_affine(4, 32, 6)},
          {"Q3_K", two_level_symmetric(3, 16, 6)},
          {"IQ1_S", codebook_words("iq1_s", 2, 8, 32, 4)},
          {"IQ1_M", codebook_words("iq1_m", 3, 8, 16, 3)},
          {"IQ2_S", codebook_words("iq2_s", 3, 8, 16)},
          {"IQ3_XXS", codebook_words("iq3_xxs", 4, 8, 32)}};
}

std::vector<std::pair<std::string, Scheme>> importance_schemes() {
  auto all = gguf_schemes();
  for (const Scheme& s : schemes()) all.emplace_back(describe(s), s);
  for (const Scheme& s : {symmetric_int(5, 32, Dtype::f16), symmetric_int(8, 32, Dtype::f16),
                          asymmetric_int(4, 128, Dtype::f16, 1), two_level_symmetric(6, 16, 8),
                          affine(4, 32, Dtype::f16), fp8({1, 0}, Dtype::bf16), fp8({128, 128}, Dtype::bf16)})
    all.emplace_back(describe(s), s);
  return all;
}

// An importance matrix may know nothing of some columns, or of all: they count a little, as on a text they might.
TEST(Rtn, ColumnsWithoutImportanceKeepTheirWeights) {
  constexpr int64_t kRows = 128, kCols = 768;
  std::vector<float> w = normal(kRows * kCols);
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kCols; c += 32)
      w[static_cast<size_t>(r * kCols + c)] *= 0.01f;  // what alone counts in some cases
  struct Case {
    const char* name;
    std::function<float(int64_t)> importance;
  };
  const Case cases[] = {{"all zero", [](int64_t) { return 0.0f; }},
                        {"all tiny", [](int64_t) { return 1e-30f; }},
                        {"all denormal", [](int64_t) { return 1e-42f; }},
                        {"all huge", [](int64_t) { return 1e30f; }},
                        {"blocks of zeros", [](int64_t c) { return c / 32 % 2 ? 0.0f : 1.0f; }},
                        {"blocks of tiny ones", [](int64_t c) { return c / 32 % 2 ? 1e-30f : 1.0f; }},
                        {"every other", [](int64_t c) { return c % 2 ? 0.0f : 1.0f; }},
                        {"small weights alone", [](int64_t c) { return c % 32 ? 0.0f : 1.0f; }},
                        {"small weights, others tiny", [](int64_t c) { return c % 32 ? 1e-30f : 1.0f; }}};
  double squares = 0;
  for (const float x : w) squares += static_cast<double>(x) * static_cast<double>(x);
  const auto error = [&](const Scheme& s, const InputStatistics* known) {
    std::vector<float> values(w.size());
    find_grid(s.grid).decode(find_quantizer("rtn").prepare(known, s, {})->quantize(w, kRows, kCols), values);
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i)
      sum += std::pow(static_cast<double>(w[i]) - static_cast<double>(values[i]), 2);
    return sum / squares;
  };
  for (const auto& [name, scheme] : importance_schemes()) {
    const double even = error(scheme, nullptr);
    for (const Case& c : cases) {
      InputStatistics known, little;
      float most = 0;
      for (int64_t col = 0; col < kCols; ++col) known.importance.push_back(c.importance(col));
      for (const float v : known.importance) most = std::max(most, v);
      for (const float v : known.importance) little.importance.push_back(most > 0 ? std::max(v / most, 1e-4f) : 1.0f);
      EXPECT_LT(error(scheme, &known), 1.5 * error(scheme, &little) + 1e-6)
          << name << ", " << c.name << ", even " << even;
    }
  }
}

TEST(Rtn, OnlyTheRatiosOfImportanceCount) {
  const std::vector<float> w = normal(128 * 768);
  InputStatistics known, scaled;
  for (int64_t c = 0; c < 768; ++c) {
    known.importance.push_back(0.25f + static_cast<float>(c * 37 % 101));
    scaled.importance.push_back(std::ldexp(known.importance.back(), -40));
  }
  for (const auto& [name, scheme] : importance_schemes()) {
    const auto bytes = [&](const InputStatistics& s) {
      return find_quantizer("rtn").prepare(&s, scheme, {})->quantize(w, 128, 768);
    };
    EXPECT_EQ(bytes(known), bytes(scaled)) << name;
  }
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
  InputStatistics statistics = statistics_of(64);
  for (const Quantizer* q : all_quantizers()) {
    find_grid("int").decode(run(*q, w, 8, 64, s, statistics), back);
    for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(back[i], w[i], 1e-6f) << q->name();
  }
}

TEST(EveryQuantizer, GivesTheSameBitsForAnyNumberOfThreads) {
  const auto w = normal(150 * 96);
  InputStatistics statistics = statistics_of(96);
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
  InputStatistics statistics = statistics_of(96);
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
  InputStatistics s{.fitted = Hessian(96)};
  for (int64_t i = 0; i < 96; ++i)
    s.fitted.values[static_cast<size_t>(i * 97)] = 4.0f;  // a power of two scales every sum exactly
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
  InputStatistics s = statistics_of(96);
  const double damping = QuantizerOptions{}.damping * s.fitted.mean();  // of what passes make small
  for (const Scheme& scheme : schemes()) {
    double before = loss(s, w, run(find_quantizer("rtn"), w, 70, 96, scheme, s), damping);
    for (const int refine : {0, 1, 2, 4}) {
      const double now = loss(s, w, run(find_quantizer("gptq"), w, 70, 96, scheme, s, {.refine = refine}), damping);
      EXPECT_LT(now, before * (refine == 0 ? 0.95 : 1.0001)) << describe(scheme) << " refine " << refine;
      before = now;
    }
  }
}

TEST(Gptq, ColumnsStoredInAnotherOrderGetTheSameCodes) {
  const int64_t n = 96, rows = 70, group = 32;
  const auto w = normal(rows * n);
  InputStatistics s = statistics_of(n);
  // Whole groups move, and columns inside of them.
  std::vector<int64_t> from;
  for (const int64_t g : {2, 0, 1})
    for (int64_t k = 0; k < group; ++k) from.push_back(g * group + (k * 5 + g) % group);
  std::vector<float> moved_w(w.size());
  InputStatistics moved_s{.fitted = Hessian(n)};
  moved_s.fitted.tokens = s.fitted.tokens;
  for (int64_t c = 0; c < n; ++c) {
    const int64_t old = from[static_cast<size_t>(c)];
    for (int64_t r = 0; r < rows; ++r) moved_w[static_cast<size_t>(r * n + c)] = w[static_cast<size_t>(r * n + old)];
    for (int64_t k = 0; k < n; ++k)
      moved_s.fitted.values[static_cast<size_t>(c * n + k)] = s.fitted.row(old)[from[static_cast<size_t>(k)]];
  }
  const Scheme scheme = symmetric_int(4, group, Dtype::f32);
  const QuantizedMatrix q = run(find_quantizer("gptq"), w, rows, n, scheme, s, {.refine = 0});
  const QuantizedMatrix moved = run(find_quantizer("gptq"), moved_w, rows, n, scheme, moved_s, {.refine = 0});
  int different = 0;  // the order of a sum in the fit of a scale may decide between two that are equally good
  for (int64_t r = 0; r < rows; ++r) {
    bool same = true;
    for (int64_t c = 0; c < n; ++c)
      same = same && moved.code_row(r)[static_cast<size_t>(c)] ==
                         q.code_row(r)[static_cast<size_t>(from[static_cast<size_t>(c)])];
    different += !same;
  }
  EXPECT_LE(different, 3);
}

// All 4^6 ways to write a row of six weights in two bits under fixed parameters.
TEST(Gptq, ComesCloseToTheBestOfAllCodesOnSmallProblems) {
  const int64_t n = 6, rows = 20;
  const auto w = normal(rows * n, 0.05f, 11);
  InputStatistics s = statistics_of(n);
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
        for (int64_t j = 0; j < n; ++j) sum += e[i] * e[j] * static_cast<double>(s.fitted.row(i)[j]);
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
  const InputStatistics s = statistics_of(n);
  const Scheme scheme = symmetric_int(3, 32, Dtype::f16);
  const ScaledSite site{w, rows, scheme};
  std::vector<int64_t> source(static_cast<size_t>(n));
  std::iota(source.begin(), source.end(), 0);
  const ScaleChoice choice = awq_scales(std::span(&site, 1), s.fitted, source, false);
  EXPECT_GT(choice.alpha, 0);
  EXPECT_GT(choice.scales[static_cast<size_t>(n / 2)], 1.0f);

  InputStatistics scaled_statistics{.fitted = scaled(s.fitted, choice.scales)};
  const std::vector<float> scaled_w = scale_columns(w, choice.scales);
  const Quantizer& rtn = find_quantizer("rtn");
  InputStatistics plain = s;
  EXPECT_LT(loss(scaled_statistics, scaled_w, run(rtn, scaled_w, rows, n, scheme, scaled_statistics)),
            loss(plain, w, run(rtn, w, rows, n, scheme, plain)));
}

TEST(Awq, GivesPowersOfTwoAndTiesChannelsWhenAsked) {
  const int64_t n = 96;
  const auto w = normal(70 * n);
  const InputStatistics s = statistics_of(n);
  const Scheme scheme = symmetric_int(3, 32, Dtype::f16);
  const ScaledSite site{w, 70, scheme};
  std::vector<int64_t> source(static_cast<size_t>(n));
  for (int64_t c = 0; c < n; ++c) source[static_cast<size_t>(c)] = c / 32 / 2 * 32 + c % 32;  // heads 0 and 1 share
  const ScaleChoice choice = awq_scales(std::span(&site, 1), s.fitted, source, true);
  for (int64_t c = 0; c < n; ++c) {
    int exponent;
    EXPECT_EQ(std::frexp(choice.scales[static_cast<size_t>(c)], &exponent), 0.5f);
    if (c < 32) {
      EXPECT_EQ(choice.scales[static_cast<size_t>(c)], choice.scales[static_cast<size_t>(c + 32)]);
    }
  }
}

// Schemes whose blocks of 256 weights have two levels of scales, and those whose codes are words.
TEST(Gptq, LosesLessThanRoundingOnTheTypesOfGguf) {
  constexpr int64_t kRows = 70, kCols = 512;  // more than one panel, and an odd rest
  const std::vector<float> w = normal(kRows * kCols);
  for (const auto& [grid, scheme] : gguf_schemes()) {
    InputStatistics s = statistics_of(kCols);
    const double rtn = loss(s, w, run(find_quantizer("rtn"), w, kRows, kCols, scheme, s));
    const QuantizedMatrix q = run(find_quantizer("gptq"), w, kRows, kCols, scheme, s);
    EXPECT_LT(loss(s, w, q), 0.8 * rtn) << grid;
    QuantizedMatrix again = q;
    std::vector<float> values(w.size()), twice(w.size());
    find_grid(scheme.grid).decode(q, values);
    find_grid(scheme.grid).encode(values, again);  // what was chosen can be stored
    find_grid(scheme.grid).decode(again, twice);
    EXPECT_EQ(values, twice) << grid;
  }
}

TEST(RoundingNoise, IsTheErrorThatRoundingMakes) {
  constexpr int64_t kTokens = 400, kCols = 64, kRows = 8;
  ActivationSample a{.x = normal(kTokens * kCols, 1.0f, 21), .rows = kTokens, .cols = kCols};
  for (size_t i = 3; i < a.x.size(); i += kCols) a.x[i] *= 20;
  const std::vector<float> q = normal(kRows * kCols, 0.1f, 22);
  std::vector<float> s(kCols, 1.0f);
  s[3] = 8;
  for (const int64_t group : {int64_t{0}, int64_t{32}})
    for (const std::vector<float>& scales : {std::vector<float>(), s}) {
      a.group = group;
      const int64_t width = group == 0 ? kCols : group;
      double measured = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        std::vector<double> off(kCols);
        for (int64_t g = 0; g < kCols; g += width) {
          double most = 0;
          const auto at = [&](int64_t c) {
            const double x = static_cast<double>(a.x[static_cast<size_t>(t * kCols + c)]);
            return scales.empty() ? x : x / static_cast<double>(scales[static_cast<size_t>(c)]);
          };
          for (int64_t c = g; c < g + width; ++c) most = std::max(most, std::abs(at(c)));
          for (int64_t c = g; c < g + width; ++c)
            off[static_cast<size_t>(c)] = std::nearbyint(at(c) * 127 / most) * most / 127 - at(c);
        }
        for (int64_t r = 0; r < kRows; ++r) {
          double sum = 0;
          for (size_t c = 0; c < kCols; ++c) sum += off[c] * static_cast<double>(q[static_cast<size_t>(r) * kCols + c]);
          measured += sum * sum;
        }
      }
      // 3,200 squares of nearly normal sums: a relative standard error of sqrt(2 / 3200) = 2.5 %.
      EXPECT_NEAR(noise_error(rounding_noise(a, scales), q) / measured, 1, 0.1) << group;
    }
}

TEST(Awq, WithRoundedActivationsALoudChannelIsScaledDown) {
  constexpr int64_t kTokens = 256, kCols = 64, kRows = 32;
  ActivationSample a{.x = normal(kTokens * kCols, 1.0f, 31), .rows = kTokens, .cols = kCols};
  for (size_t i = 5; i < a.x.size(); i += kCols) a.x[i] *= 50;
  Hessian h(kCols);
  h.add(a.x.data(), kTokens, kCols);
  h.finish();
  const std::vector<float> w = normal(kRows * kCols, 0.1f, 32);
  const ScaledSite site{w, kRows, symmetric_int(8, 0, Dtype::f32)};
  std::vector<int64_t> source(kCols);
  std::iota(source.begin(), source.end(), 0);
  const ScaleChoice c = awq_scales(std::span(&site, 1), h, source, false, &a);
  EXPECT_GT(c.alpha, 0);
  EXPECT_GT(c.scales[5], 2 * c.scales[6]);
  const double before = noise_error(rounding_noise(a, {}), w);
  EXPECT_LT(noise_error(rounding_noise(a, c.scales), scale_columns(w, c.scales)), 0.5 * before);
}

}  // namespace
}  // namespace kerf
