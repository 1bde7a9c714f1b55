// Statistics of parts of a text, added up in order, beside those of the whole.
#include "quant/input_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/error.h"

namespace kerf {
namespace {

constexpr int64_t kIn = 48, kHidden = 20, kPart = 1024, kValidation = 512, kParts = 3;

std::vector<float> normal(int64_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = d(rng);
  return x;
}

struct Text {
  int64_t tokens = kParts * kPart;
  std::vector<float> x = normal(tokens * kIn, 1), full_x = normal(tokens * kIn, 2), h = normal(tokens * kHidden, 3),
                     full_h = normal(tokens * kHidden, 4);

  Hessian hessian(int64_t first, int64_t count) const {
    Hessian result(kIn);
    result.add(x.data() + first * kIn, count, kIn);
    result.finish();
    return result;
  }
  AsymmetricMoments moments(int64_t first, int64_t count) const {
    AsymmetricMoments m(kIn, kHidden);
    m.add(x.data() + first * kIn, full_x.data() + first * kIn, h.data() + first * kHidden,
          full_h.data() + first * kHidden, count);
    return m;
  }
  // The tokens [first, first + count), every 16th of them sampled.
  InputStatistics statistics(int64_t first, int64_t count) const {
    InputStatistics s{.fitted = hessian(first, count), .tokens = count};
    s.asymmetric = {moments(first, count), moments(first, count)};
    s.sample = {.rows = count / 16, .cols = kIn, .tokens_per_row = 16};
    s.sums.resize(kIn);
    s.importance.resize(kIn);
    for (int64_t t = first; t < first + count; ++t)
      for (int64_t c = 0; c < kIn; ++c) {
        const float v = x[static_cast<size_t>(t * kIn + c)];
        if (t % 16 == 0) s.sample->x.push_back(v);
        s.sums[static_cast<size_t>(c)] += static_cast<double>(v);
        s.importance[static_cast<size_t>(c)] += v * v / static_cast<float>(count);
      }
    return s;
  }
};

InputStatistics merged(const std::vector<InputStatistics>& parts) {
  InputStatistics all = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) all.merge(parts[i]);
  return all;
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b, double bound) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(static_cast<double>(a[i]), static_cast<double>(b[i]), bound);
}

TEST(InputStatistics, PartsMergedInOrderAreTheWhole) {
  const Text text;
  std::vector<InputStatistics> parts;
  for (int64_t p = 0; p < kParts; ++p) parts.push_back(text.statistics(p * kPart, kPart));
  parts.back().validation = text.hessian(0, kValidation);  // a part that has no such tokens adds none
  const InputStatistics all = merged(parts), whole = text.statistics(0, text.tokens);
  EXPECT_EQ(all.tokens, whole.tokens);
  EXPECT_EQ(all.fitted.tokens, whole.fitted.tokens);
  // Each part is one batch. |x| < 6, so sums of absolute products are below 36 tokens; differences x~ - x below 12.
  const double roundings = 2 * kParts * std::ldexp(1, -24), size = 36.0 * static_cast<double>(text.tokens);
  expect_near(all.fitted.values, whole.fitted.values, roundings * size);
  expect_near(all.asymmetric->fitted.inputs, whole.asymmetric->fitted.inputs, 2 * roundings * size);
  expect_near(all.asymmetric->validation.states, whole.asymmetric->validation.states, 2 * roundings * size);
  EXPECT_EQ(all.validation->values, parts.back().validation->values);
  EXPECT_EQ(all.sample->x, whole.sample->x);
  EXPECT_EQ(all.sample->rows, whole.sample->rows);
  EXPECT_EQ(rounding_noise(*all.sample, {}), rounding_noise(*whole.sample, {}));
  for (size_t c = 0; c < static_cast<size_t>(kIn); ++c) {
    EXPECT_NEAR(all.sums[c], whole.sums[c], 6.0 * static_cast<double>(text.tokens * text.tokens) * std::ldexp(1, -52));
    // A mean of 3,072 floats, each sum of which was rounded.
    EXPECT_NEAR(all.importance[c], whole.importance[c], static_cast<double>(text.tokens) * std::ldexp(1, -23));
  }
}

TEST(InputStatistics, MergingIsDeterministicAndOnlyTheOrderCounts) {
  const Text text;
  std::vector<InputStatistics> parts;
  for (int64_t p = 0; p < kParts; ++p) parts.push_back(text.statistics(p * kPart, kPart));
  const InputStatistics once = merged(parts), twice = merged(parts);
  EXPECT_EQ(once.fitted.values, twice.fitted.values);
  EXPECT_EQ(once.asymmetric->fitted.inputs, twice.asymmetric->fitted.inputs);
  EXPECT_EQ(once.sums, twice.sums);
  EXPECT_EQ(once.importance, twice.importance);
  InputStatistics from_nothing;
  for (const InputStatistics& p : parts) from_nothing.merge(p);
  EXPECT_EQ(once.fitted.values, from_nothing.fitted.values);
  EXPECT_EQ(once.sums, from_nothing.sums);
  EXPECT_EQ(once.importance, from_nothing.importance);
  std::swap(parts[0], parts[2]);
  EXPECT_NE(once.fitted.values, merged(parts).fitted.values);  // which is why ranks are added in their order
}

TEST(InputStatistics, ACopyAndAMoveKeepWhatTheyHold) {
  const Text text;
  const InputStatistics original = text.statistics(0, kPart);
  InputStatistics copy = original;
  const InputStatistics moved = std::move(copy);
  EXPECT_EQ(moved.fitted.values, original.fitted.values);
  EXPECT_EQ(moved.sample->x, original.sample->x);
}

TEST(InputStatistics, PoolingMakesValidationTokensFittedOnes) {
  const Text text;
  InputStatistics s{.fitted = text.hessian(0, kPart), .validation = text.hessian(kPart, kValidation)};
  const Hessian both = s.pooled();
  s.pool();
  EXPECT_FALSE(s.validation);
  EXPECT_EQ(s.fitted.values, both.values);
  EXPECT_EQ(s.fitted.tokens, kPart + kValidation);
  EXPECT_EQ(s.pooled().values, both.values);
}

TEST(InputStatistics, RefusesPartsOfOtherInputs) {
  InputStatistics a{.fitted = Hessian(4)}, b{.fitted = Hessian(5)};
  EXPECT_THROW(a.merge(b), Error);
  InputStatistics norms{.importance = {1, 2}}, measured{.importance = {1, 2}, .tokens = 7};
  EXPECT_THROW(measured.merge(norms), Error);
  InputStatistics by_token{.sample = ActivationSample{.cols = 4}};
  EXPECT_THROW(by_token.merge({.sample = ActivationSample{.cols = 4, .group = 2}}), Error);
}

}  // namespace
}  // namespace kerf
