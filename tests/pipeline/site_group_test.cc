#include "pipeline/calibrate/site_group.h"

#include <gtest/gtest.h>

#include <random>

namespace kerf::test {
namespace {

std::vector<float> normal(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(n);
  for (float& v : x) v = d(random);
  return x;
}

// Neighbouring channels go together, as those of real activations do: error feedback has something to gain.
std::vector<float> inputs(int64_t tokens, int64_t n, uint32_t seed) {
  std::vector<float> x = normal(static_cast<size_t>(tokens * n), seed);
  for (size_t i = 1; i < x.size(); ++i)
    if (i % static_cast<size_t>(n) != 0) x[i] = 0.9f * x[i - 1] + 0.4f * x[i];
  return x;
}

Hessian moments(std::span<const float> x, int64_t n) {
  Hessian h(n);
  h.add(x.data(), std::ssize(x) / n, n);
  h.finish();
  return h;
}

TEST(SiteGroup, WhatTheHeldOutWindowsChoseIsDoneAgainWithAllWindows) {
  constexpr int64_t kOut = 64, kIn = 64;
  const std::vector<float> w = normal(kOut * kIn, 1), seen = inputs(300, kIn, 2), held_out = inputs(50, kIn, 3);
  const Scheme scheme = symmetric_int(3, 32, Dtype::f32);
  Method method = parse_method("gptq", true);
  const Site site{.name = "w", .out = kOut, .in = kIn};
  const std::vector<GroupSite> sites = {{&site, &scheme, &method, w}};
  const QuantizerOptions options;
  const InputStatistics part{.fitted = moments(seen, kIn), .validation = moments(held_out, kIn)};
  const ChosenGroup chosen = choose_group(sites, part, options, std::nullopt);

  InputStatistics all{.fitted = part.fitted};
  for (size_t i = 0; i < all.fitted.values.size(); ++i) all.fitted.values[i] += part.validation->values[i];
  const Quantizer& gptq = find_quantizer("gptq");
  const QuantizedMatrix expected = gptq.prepare(&all, scheme, options)->quantize(w, kOut, kIn);
  EXPECT_EQ(chosen.sites[0].quantizer, &gptq);
  EXPECT_EQ(chosen.sites[0].matrix.codes, expected.codes);

  const QuantizedMatrix without = gptq.prepare(&part, scheme, options)->quantize(w, kOut, kIn);
  EXPECT_NE(expected.codes, without.codes) << "the windows must matter";
}

TEST(SiteGroup, WithoutTokensForValidationErrorsAreThoseOfTheFittedOnes) {
  constexpr int64_t kOut = 64, kIn = 64;
  const Scheme scheme = symmetric_int(3, 32, Dtype::f32);
  const Method method = parse_method("gptq", true);
  const Site site{.name = "w", .out = kOut, .in = kIn};
  const std::vector<GroupSite> sites = {{&site, &scheme, &method, normal(kOut * kIn, 1)}};
  InputStatistics statistics{.fitted = moments(inputs(300, kIn, 2), kIn)};
  const ChosenGroup seen = choose_group(sites, statistics, {}, std::nullopt);
  // The same tokens for validation.
  statistics.validation = statistics.fitted;
  const ChosenGroup validated = choose_group(sites, statistics, {}, std::nullopt);
  EXPECT_EQ(seen.sites[0].error, validated.sites[0].error);
  EXPECT_EQ(seen.sites[0].signal, validated.sites[0].signal);
}

TEST(SiteGroup, PiecesOfRowsGetTheCodesOfTheWhole) {
  constexpr int64_t kRows = 100, kOut = 3 * kRows, kIn = 96;
  const std::vector<float> w = normal(kOut * kIn, 4);
  const InputStatistics statistics{.fitted = moments(inputs(400, kIn, 5), kIn),
                                   .validation = moments(inputs(100, kIn, 6), kIn)};
  const Scheme scheme = symmetric_int(3, 32, Dtype::f16);
  const Method method = parse_method("gptq", true);
  const auto codes = [&](int64_t begin, int64_t end) {
    const Site site{.name = "w", .out = end - begin, .in = kIn};
    const GroupSite s{&site, &scheme, &method, {w.begin() + begin * kIn, w.begin() + end * kIn}};
    return choose_group({&s, 1}, statistics, {}, std::nullopt).sites[0].matrix.codes;
  };
  std::vector<uint8_t> pieces;
  for (int64_t row = 0; row < kOut; row += kRows) {
    const std::vector<uint8_t> piece = codes(row, row + kRows);
    pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(pieces, codes(0, kOut));
}

}  // namespace
}  // namespace kerf::test
