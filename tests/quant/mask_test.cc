// Weights that are pruned while the rest is quantized: exactly zero, and made up for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/error.h"
#include "core/parallel.h"
#include "grids/grid.h"
#include "quant/quantizer.h"

namespace kerf {
namespace {

constexpr int64_t kRows = 70, kCols = 256;  // more than one panel, and an odd rest

std::vector<float> normal(int64_t n, float sigma, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, sigma);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}

// Neighbouring channels go together: there is something to make up with.
InputStatistics statistics() {
  std::vector<float> x = normal(4 * kCols * kCols, 1.0f, 7);
  for (size_t i = 1; i < x.size(); ++i)
    if (i % kCols != 0) x[i] += 0.9f * x[i - 1];
  InputStatistics s{.fitted = Hessian(kCols)};
  s.fitted.add(x.data(), 4 * kCols, kCols);
  s.fitted.finish();
  return s;
}

// Two of four neighbours, the smaller ones.
Mask two_of_four(const std::vector<float>& w) {
  Mask mask{std::vector<uint8_t>(w.size())};
  for (size_t i = 0; i < w.size(); i += 4) {
    std::vector<size_t> order = {i, i + 1, i + 2, i + 3};
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(w[a]) < std::abs(w[b]); });
    mask.zero[order[0]] = mask.zero[order[1]] = 1;
  }
  return mask;
}

std::vector<float> decoded(const QuantizedMatrix& q) {
  std::vector<float> values(q.codes.size());
  find_grid(q.scheme.grid).decode(q, values);
  return values;
}

double loss(const InputStatistics& s, const std::vector<float>& w, std::vector<float> values) {
  for (size_t i = 0; i < w.size(); ++i) values[i] = w[i] - values[i];
  const std::vector<double> norms = hessian_norms(s.fitted, values, kRows);
  return std::accumulate(norms.begin(), norms.end(), 0.0);
}

// One of each way that parameters are stored: per group, per row, with zero points, in two levels, floats.
std::vector<Scheme> schemes_with_zero() {
  return {symmetric_int(4, 32, Dtype::f16),
          symmetric_int(8, 0, Dtype::f32),
          asymmetric_int(4, 32, Dtype::f16),
          asymmetric_int(3, 64, Dtype::bf16, 1),
          asymmetric_int(4, 0, Dtype::f16),
          two_level_symmetric(3, 16, 6),
          listed("e2m1", 4, 32, Dtype::f8_e8m0),
          listed("ternary", 2, 256, Dtype::f16),
          fp8({1, 0}, Dtype::f32),
          fp8({128, 128}, Dtype::f32),
          fp8({0, 0}, Dtype::f32)};
}

TEST(Masks, MaskedWeightsAreExactlyZeroAndTheOthersMakeUpForThem) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask mask = two_of_four(w);
  for (const Scheme& scheme : schemes_with_zero()) {
    ASSERT_TRUE(has_zero(scheme)) << describe(scheme);
    for (const int refine : {0, 2}) {
      const auto gptq = find_quantizer("gptq").prepare(&s, scheme, {.refine = refine});
      const QuantizedMatrix q = gptq->quantize(w, kRows, kCols, &mask);
      EXPECT_EQ(q.mask, mask);
      const std::vector<float> values = decoded(q);
      size_t kept = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        if (mask.zero[i]) {
          ASSERT_EQ(values[i], 0.0f) << describe(scheme) << " refine " << refine << " weight " << i;
        }
        kept += !mask.zero[i] && values[i] != 0.0f;
      }
      EXPECT_GT(kept, w.size() / 10) << describe(scheme);
      std::vector<float> afterwards = decoded(gptq->quantize(w, kRows, kCols));
      for (size_t i = 0; i < w.size(); ++i)
        if (mask.zero[i]) afterwards[i] = 0.0f;
      EXPECT_LT(loss(s, w, values), 0.8 * loss(s, w, afterwards)) << describe(scheme) << " refine " << refine;
    }
  }
}

TEST(Masks, EveryQuantizerTakesThem) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask mask = two_of_four(w);
  for (const Quantizer* quantizer : all_quantizers())
    for (const Scheme& scheme : schemes_with_zero()) {
      const QuantizedMatrix q = quantizer->prepare(&s, scheme, {})->quantize(w, kRows, kCols, &mask);
      const std::vector<float> values = decoded(q);
      for (size_t i = 0; i < w.size(); ++i) {
        if (mask.zero[i]) {
          ASSERT_EQ(values[i], 0.0f) << quantizer->name() << " " << describe(scheme);
        }
      }
      EXPECT_EQ(q.mask, mask);
    }
}

TEST(Masks, OneThatMasksNothingChangesNothing) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask none{std::vector<uint8_t>(w.size(), 0)};
  for (const Quantizer* quantizer : all_quantizers())
    for (const Scheme& scheme : schemes_with_zero()) {
      const auto prepared = quantizer->prepare(&s, scheme, {});
      QuantizedMatrix masked = prepared->quantize(w, kRows, kCols, &none);
      masked.mask.reset();
      EXPECT_EQ(masked, prepared->quantize(w, kRows, kCols)) << quantizer->name() << " " << describe(scheme);
    }
}

TEST(Masks, OneThatMasksEverythingLeavesZeros) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask all{std::vector<uint8_t>(w.size(), 1)};
  for (const Quantizer* quantizer : all_quantizers())
    for (const Scheme& scheme : schemes_with_zero())
      for (const float v : decoded(quantizer->prepare(&s, scheme, {})->quantize(w, kRows, kCols, &all)))
        ASSERT_EQ(v, 0.0f) << quantizer->name() << " " << describe(scheme);
}

TEST(Masks, AreTheSameForAnyNumberOfThreadsAndGoWithTheirRows) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask mask = two_of_four(w);
  const auto gptq = find_quantizer("gptq").prepare(&s, symmetric_int(4, 32, Dtype::f16), {});
  set_threads(1);
  const QuantizedMatrix one = gptq->quantize(w, kRows, kCols, &mask);
  set_threads(3);
  EXPECT_EQ(one, gptq->quantize(w, kRows, kCols, &mask));
  set_threads(0);
  const QuantizedMatrix part = rows_of(one, 10, 20);
  EXPECT_TRUE(std::equal(part.mask->zero.begin(), part.mask->zero.end(), mask.zero.begin() + 10 * kCols));
  EXPECT_EQ(part.mask->zero.size(), static_cast<size_t>(10 * kCols));
}

TEST(Masks, AreRefusedWhereTheGridHasNoZero) {
  const std::vector<float> w = normal(kRows * kCols, 0.05f, 5);
  const InputStatistics s = statistics();
  const Mask mask = two_of_four(w);
  for (const Scheme& scheme : {affine(4, 32, Dtype::f16), two_level_affine(4, 32, 6), listed("iq4", 4, 32, Dtype::f16),
                               two_level_symmetric(4, 32, 6, "kquant-iq4"), listed("sign", 1, 128, Dtype::f16),
                               codebook_words("iq3_xxs", 4, 8, 32)}) {
    EXPECT_FALSE(has_zero(scheme)) << describe(scheme);
    for (const Quantizer* quantizer : all_quantizers()) {
      const auto prepared = quantizer->prepare(&s, scheme, {});
      try {
        prepared->quantize(w, kRows, kCols, &mask);
        ADD_FAILURE() << quantizer->name() << " " << describe(scheme);
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::unsupported);
        EXPECT_NE(std::string(e.what()).find("cannot be pruned"), std::string::npos) << e.what();
      }
    }
  }
}

}  // namespace
}  // namespace kerf
