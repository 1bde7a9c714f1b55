#include "model/run/evaluate.h"
#include "model/arch/family.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "tests/support/data.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

Architecture small(int64_t vocab) {
  return describe_architecture({{"model_type", "llama"},
                                {"vocab_size", vocab},
                                {"hidden_size", 32},
                                {"intermediate_size", 48},
                                {"num_hidden_layers", 1},
                                {"num_attention_heads", 2},
                                {"max_position_embeddings", 64},
                                {"tie_word_embeddings", false}});
}

/// A model and its finished run over windows; `noise` is added to its head, in a pattern.
struct Model {
  Architecture a;
  test::RandomCheckpoint checkpoint;
  std::unique_ptr<WeightProvider> weights;
  BlockwiseForward stream;
  Logits logits;

  Model(int64_t vocab, const Windows& windows, float noise = 0)
      : a(small(vocab)),
        checkpoint(disturbed(a, noise)),
        weights(dense_weights(a, checkpoint)),
        stream(run(a, *weights, windows)),
        logits(a, *weights, stream) {}

  static test::RandomCheckpoint disturbed(const Architecture& a, float noise) {
    test::RandomCheckpoint c(a);
    std::vector<float>& head = c.values("lm_head.weight");
    for (size_t i = 0; i < head.size(); ++i) head[i] += noise * static_cast<float>(static_cast<int>(i * 7 % 11) - 5);
    return c;
  }
  static BlockwiseForward run(const Architecture& a, WeightProvider& weights, const Windows& windows) {
    BlockwiseForward s(a, weights, {}, windows);
    s.run();
    return s;
  }
  /// log softmax of every row, in double.
  std::vector<std::vector<double>> log_probabilities() const {
    std::vector<std::vector<double>> all;
    std::vector<float> rows(static_cast<size_t>(logits.tokens() * a.vocab()));
    logits.panel(0, logits.tokens(), 0, a.vocab(), rows.data(), a.vocab());
    for (int64_t t = 0; t < logits.tokens(); ++t) {
      std::vector<double> p(rows.begin() + t * a.vocab(), rows.begin() + (t + 1) * a.vocab());
      const double most = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double x : p) sum += std::exp(x - most);
      for (double& x : p) x -= most + std::log(sum);
      all.push_back(std::move(p));
    }
    return all;
  }
};

// 2,500 ids are two panels of the vocabulary and a bit; 7 windows of 90 are a batch of tokens and a bit.
constexpr int64_t kVocab = 2500;
const Windows kWindows = test::random_windows(7, 90, kVocab);

double mean(const std::vector<double>& v) {
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

/// The rule of evaluate.h, written out again.
double error_over_windows(const std::vector<double>& v, size_t windows) {
  const size_t n = v.size() / windows;
  double squares = 0;
  for (size_t w = 0; w < windows; ++w) {
    double m = 0;
    for (size_t i = 0; i < n; ++i) m += v[w * n + i] / static_cast<double>(n);
    squares += (m - mean(v)) * (m - mean(v));
  }
  return std::sqrt(squares / static_cast<double>(windows * (windows - 1)));
}

TEST(Windows, AreConsecutiveAndBeginWithBos) {
  std::vector<int32_t> ids(100);
  std::iota(ids.begin(), ids.end(), 10);
  const Windows w = cut_windows(ids, 1, 5, 3, 20);
  EXPECT_EQ(w.count, 3);
  EXPECT_EQ(w.length, 5);
  EXPECT_EQ(w.ids, (std::vector<int32_t>{1, 30, 31, 32, 33, 1, 34, 35, 36, 37, 1, 38, 39, 40, 41}));
}

TEST(Windows, TakeWholeContextsWithoutBos) {
  const std::vector<int32_t> ids = {0, 1, 2, 3, 4, 5, 6};
  EXPECT_EQ(cut_windows(ids, std::nullopt, 3, 0, 1).ids, (std::vector<int32_t>{1, 2, 3, 4, 5, 6}));
}

TEST(Windows, AreAsManyAsTheTextFills) {
  const std::vector<int32_t> ids(99);
  EXPECT_EQ(cut_windows(ids, 1, 11, 100, 0).count, 9);
  EXPECT_EQ(cut_windows(ids, 1, 11, 0, 9).count, 9);
  EXPECT_EQ(cut_windows(ids, 1, 11, 0, 10).count, 8);
}

TEST(Windows, RefuseATextThatFillsNone) {
  for (size_t n : {0U, 1U, 9U}) {
    const std::string said =
        test::refusal([&] { cut_windows(std::vector<int32_t>(n), 1, 11, 1, 0); }, ErrorKind::bad_input);
    EXPECT_TRUE(test::mentions(said, fmt::format("{} tokens", n))) << said;
  }
  EXPECT_THROW(cut_windows(std::vector<int32_t>(50), 1, 11, 1, 41), Error);
  EXPECT_THROW(cut_windows(std::vector<int32_t>(50), 1, 11, 1, INT64_MAX), Error);
  EXPECT_THROW(cut_windows(std::vector<int32_t>(50), 1, 1, 1, 0), Error);
}

TEST(Estimate, ErrorComesFromTheSpreadOfWindows) {
  const std::vector<double> v = {1, 1, 1, 3, 3, 3, 8, 8, 8};
  const Estimate e = estimate(v, 3);
  EXPECT_DOUBLE_EQ(e.mean, 4);
  EXPECT_DOUBLE_EQ(e.error, std::sqrt((9.0 + 1 + 16) / 6));
  // One window: its tokens.
  EXPECT_DOUBLE_EQ(estimate(v, 1).error, std::sqrt((3 * (9.0 + 1 + 16)) / 72));
}

TEST(Evaluate, PerplexityIsThatOfASoftmaxInDouble) {
  const Model m(kVocab, kWindows);
  const std::vector<std::vector<double>> p = m.log_probabilities();
  std::vector<double> nll;
  for (int64_t t = 0; t < kWindows.tokens(); ++t)
    if (t % 90 != 89)
      nll.push_back(-p[static_cast<size_t>(t)][static_cast<size_t>(kWindows.ids[static_cast<size_t>(t + 1)])]);
  const Perplexity got = evaluate(m.logits, kWindows);
  EXPECT_EQ(got.tokens, 7 * 89);
  EXPECT_EQ(got.windows, 7);
  EXPECT_NEAR(got.nll, mean(nll), 1e-6);
  EXPECT_NEAR(got.ppl, std::exp(mean(nll)), 1e-6 * got.ppl);
  EXPECT_NEAR(got.nll_stderr, error_over_windows(nll, 7), 1e-6);
  ASSERT_EQ(got.nll_per_token.size(), nll.size());
  for (size_t i = 0; i < nll.size(); ++i) EXPECT_NEAR(static_cast<double>(got.nll_per_token[i]), nll[i], 1e-5);
}

TEST(Compare, IsTheDefinitionInDouble) {
  const Model reference(kVocab, kWindows), packed(kVocab, kWindows, 0.01F), worse(kVocab, kWindows, 0.03F);
  const Logits* targets[] = {&packed.logits, &worse.logits};
  const std::vector<Comparison> got = compare(reference.logits, targets, kWindows);
  ASSERT_EQ(got.size(), 2U);
  const auto p = reference.log_probabilities(), q = packed.log_probabilities();
  std::vector<double> kl, same, log_ratio;
  for (size_t t = 0; t < p.size(); ++t) {
    if (t % 90 == 89) continue;
    double d = 0;
    for (size_t i = 0; i < p[t].size(); ++i) d += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
    kl.push_back(d);
    same.push_back(std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
                   std::max_element(q[t].begin(), q[t].end()) - q[t].begin());
    const auto next = static_cast<size_t>(kWindows.ids[t + 1]);
    log_ratio.push_back(p[t][next] - q[t][next]);
  }
  const Comparison& c = got[0];
  EXPECT_NEAR(c.kl_mean, mean(kl), 1e-7 + 1e-5 * mean(kl));
  EXPECT_NEAR(c.kl_stderr, error_over_windows(kl, 7), 1e-7);
  EXPECT_EQ(c.top1, mean(same));
  EXPECT_NEAR(c.top1_stderr, error_over_windows(same, 7), 1e-12);
  EXPECT_NEAR(c.ppl_ratio, std::exp(mean(log_ratio)), 1e-6);
  EXPECT_NEAR(c.ppl_ratio, c.ppl / c.ppl_reference, 1e-9);
  EXPECT_NEAR(c.ppl_ratio_stderr, c.ppl_ratio * error_over_windows(log_ratio, 7), 1e-6);
  EXPECT_EQ(c.ppl_reference, evaluate(reference.logits, kWindows).ppl);
  EXPECT_EQ(c.ppl, evaluate(packed.logits, kWindows).ppl);
  std::sort(kl.begin(), kl.end());
  EXPECT_NEAR(c.kl_median, kl[311], 1e-6);  // 623 values
  EXPECT_NEAR(c.kl_max, kl.back(), 1e-6);
  EXPECT_NEAR(c.kl_p99, kl[615] + 0.78 * (kl[616] - kl[615]), 1e-6);  // 0.99 x 622 = 615.78
  EXPECT_GT(got[1].kl_mean, 3 * c.kl_mean);
  EXPECT_LT(c.top1, 1);
  EXPECT_GT(c.top1, 0.5);
}

TEST(Compare, AModelWithItselfIsAllZeros) {
  const Model a(kVocab, kWindows), b(kVocab, kWindows);
  const Logits* targets[] = {&b.logits};
  const Comparison c = compare(a.logits, targets, kWindows).front();
  EXPECT_EQ(c.kl_mean, 0);
  EXPECT_EQ(c.kl_max, 0);
  EXPECT_EQ(c.ppl_ratio, 1);
  EXPECT_EQ(c.ppl_ratio_stderr, 0);
  EXPECT_EQ(c.top1, 1);
}

TEST(Compare, SmallDivergencesKeepTheirDigits) {
  // KL grows with the square of a small disturbance: a tenth of it is a hundredth of the divergence.
  const Model reference(kVocab, kWindows), near(kVocab, kWindows, 1e-4F), far(kVocab, kWindows, 1e-3F);
  const Logits* targets[] = {&near.logits, &far.logits};
  const std::vector<Comparison> c = compare(reference.logits, targets, kWindows);
  EXPECT_LT(c[0].kl_mean, 1e-5);
  EXPECT_NEAR(c[1].kl_mean / c[0].kl_mean, 100, 5);
}

TEST(Compare, IsTheSameForEveryNumberOfThreads) {
  const Model reference(kVocab, kWindows), packed(kVocab, kWindows, 0.01F);
  const Logits* targets[] = {&packed.logits};
  set_threads(1);
  const Comparison one = compare(reference.logits, targets, kWindows).front();
  set_threads(3);
  const Comparison three = compare(reference.logits, targets, kWindows).front();
  set_threads(0);
  EXPECT_EQ(one.kl_per_token, three.kl_per_token);
  EXPECT_EQ(one.nll_per_token, three.nll_per_token);
  EXPECT_EQ(one.kl_mean, three.kl_mean);
}

TEST(Compare, DifferencesArePaired) {
  const Model reference(kVocab, kWindows), a(kVocab, kWindows, 0.01F), b(kVocab, kWindows, 0.0101F);
  const Logits* targets[] = {&a.logits, &b.logits};
  const std::vector<Comparison> c = compare(reference.logits, targets, kWindows);
  const Difference d = paired_difference(c[1], c[0]);
  EXPECT_NEAR(d.kl, c[1].kl_mean - c[0].kl_mean, 1e-9);
  EXPECT_NEAR(d.nll, std::log(c[1].ppl / c[0].ppl), 1e-6);
  EXPECT_NEAR(d.top1, c[1].top1 - c[0].top1, 1e-12);
  // Both are disturbed along the same line: most of the spread is shared, and the paired error shows it.
  EXPECT_LT(d.kl_stderr, 0.1 * c[0].kl_stderr);
  EXPECT_GT(d.kl, 3 * d.kl_stderr);
}

TEST(Compare, RefusesAnotherVocabulary) {
  const Windows windows = test::random_windows(2, 10, 100);
  const Model reference(200, windows), packed(100, windows);
  const Logits* targets[] = {&packed.logits};
  EXPECT_THROW(compare(reference.logits, targets, windows), Error);
}

TEST(Evaluate, SaysWhenALogitIsNotFinite) {
  Model m(200, test::random_windows(2, 10, 200));
  for (float& x : m.checkpoint.values("lm_head.weight")) x *= 1e38F;
  test::refusal([&] { evaluate(m.logits, test::random_windows(2, 10, 200)); }, ErrorKind::numerical);
}

TEST(Logits, NpyFileHoldsLogProbabilities) {
  const Model m(kVocab, kWindows);
  const test::TempDir dir;
  write_logits_npy(dir / "l.npy", m.logits, kWindows);
  const std::string file = read_text(dir / "l.npy");
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  uint16_t length = 0;
  std::memcpy(&length, file.data() + 8, 2);
  EXPECT_EQ((10 + length) % 64, 0);
  EXPECT_EQ(file[9U + length], '\n');
  EXPECT_EQ(file.substr(10, 63), "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 90, 2500)");
  ASSERT_EQ(file.size(), 10U + length + 7U * 90 * 2500 * 4);
  const auto p = m.log_probabilities();
  std::vector<float> values(7U * 90 * 2500);
  std::memcpy(values.data(), file.data() + 10 + length, values.size() * 4);
  for (size_t t : {size_t{0}, size_t{89}, size_t{511}, size_t{629}})
    for (size_t i = 0; i < 2500; i += 3) EXPECT_NEAR(static_cast<double>(values[t * 2500 + i]), p[t][i], 2e-5);
}

}  // namespace
}  // namespace kerf
