// Gradients whose second moments are the Fisher information.
#include "distill/fisher.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace kerf {
namespace {

TEST(FisherGradients, HaveTheSecondMomentsOfTheDivergencesHessian) {
  constexpr int64_t kTokens = 40000, kVocab = 5;
  const float logits[kVocab] = {2, 0, -1, 0.5F, -4};
  std::vector<float> all, d(kTokens * kVocab);
  for (int64_t t = 0; t < kTokens; ++t) all.insert(all.end(), logits, logits + kVocab);
  const Windows windows{.count = 4, .length = kTokens / 4, .ids = std::vector<int32_t>(kTokens)};
  fisher_gradients(windows, 0, kTokens, 7, all, d);
  double sum = 0, p[kVocab], moments[kVocab][kVocab] = {};
  for (int i = 0; i < kVocab; ++i) sum += p[i] = std::exp(static_cast<double>(logits[i]));
  for (int64_t t = 0; t < kTokens; ++t) {
    double total = 0;
    for (int i = 0; i < kVocab; ++i) {
      const double x = static_cast<double>(d[static_cast<size_t>(t * kVocab + i)]);
      total += x;
      for (int j = 0; j < kVocab; ++j)
        moments[i][j] += x * static_cast<double>(d[static_cast<size_t>(t * kVocab + j)]) / (kTokens - 4);
    }
    EXPECT_NEAR(total, 0, 1e-6);  // logits may all rise by the same
    if ((t + 1) % windows.length == 0) {
      EXPECT_EQ(d[static_cast<size_t>(t * kVocab)], 0) << "nothing is predicted where a window ends";
    }
  }
  for (int i = 0; i < kVocab; ++i)
    for (int j = 0; j < kVocab; ++j)
      EXPECT_NEAR(moments[i][j], (i == j ? p[i] / sum : 0) - p[i] * p[j] / sum / sum, 0.005) << i << " " << j;
}

TEST(FisherGradients, FollowFromSeedAndTokenAlone) {
  const Windows windows{.count = 2, .length = 6, .ids = std::vector<int32_t>(12)};
  std::vector<float> logits(12 * 100), whole(logits.size()), part(3 * 100), other(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 17) * 0.3F;
  fisher_gradients(windows, 0, 12, 1, logits, whole);
  fisher_gradients(windows, 4, 3, 1, std::span(logits).subspan(400, 300), part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 400));
  fisher_gradients(windows, 0, 12, 2, logits, other);
  EXPECT_NE(whole, other);
}

}  // namespace
}  // namespace kerf
