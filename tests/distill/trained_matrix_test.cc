// A packed matrix in training: where it starts, which way its gradients point, and what stays.
#include <gtest/gtest.h>

#include <cmath>

#include "distill/trained_matrix.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

constexpr int64_t kRows = 3, kCols = 512;

std::vector<float> weights(uint64_t seed, int64_t n = kRows * kCols) {
  std::vector<float> w(static_cast<size_t>(n));
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(static_cast<double>(test::splitmix64(seed * 100003 + i) % 20001) / 10000.0 - 1);
  return w;
}

QuantizedMatrix quantized(const Scheme& scheme) {
  QuantizedMatrix q = allocate(scheme, kRows, kCols);
  find_grid(scheme.grid).fit_and_encode(weights(1), {}, q);
  return q;
}

struct Case {
  std::string name;
  Scheme scheme;
};

std::vector<Case> cases() {
  return {{"int4", symmetric_int(4, 32, Dtype::f16)},
          {"int4_f32", symmetric_int(4, 32, Dtype::f32)},
          {"int4_channel", symmetric_int(4, 0, Dtype::bf16)},
          {"int4_zero", asymmetric_int(4, 64, Dtype::f16)},
          {"q4_1", affine(4, 32, Dtype::f16)},
          {"q4_k", two_level_affine(4, 32, 6)},
          {"q2_k", two_level_affine(2, 16, 4)},
          {"q6_k", two_level_symmetric(6, 16, 8)},
          {"iq4_nl", listed("iq4", 4, 32, Dtype::f16)}};
}

class TrainedMatrixTest : public testing::TestWithParam<Case> {};

TEST_P(TrainedMatrixTest, IsAsItCameUntilSomethingMoves) {
  const QuantizedMatrix q = quantized(GetParam().scheme);
  const std::vector<float> w = weights(1);
  for (const bool codes : {false, true}) {
    TrainedMatrix m(q, {.codes = codes}, codes ? std::span<const float>(w) : std::span<const float>());
    m.settle();
    EXPECT_EQ(m.matrix(), q);
  }
}

TEST_P(TrainedMatrixTest, FollowsFromItsParametersAlone) {
  const std::vector<float> w = weights(1);
  TrainedMatrix m(quantized(GetParam().scheme), {.codes = true}, w),
      other(quantized(GetParam().scheme), {.codes = true}, w);
  const auto move = [](TrainedMatrix& of, float by) {
    for (const Parameter& p : of.parameters())
      for (size_t i = 0; i < p.values.size(); ++i) p.values[i] += by * static_cast<float>(1 + i % 3);
    of.settle();
  };
  move(m, 0.125F);
  move(m, -0.0625F);
  move(other, 0.0625F);
  EXPECT_EQ(m.matrix(), other.matrix());
}

// d of sum c value to a parameter, beside the difference that moving it makes. All blocks are moved together, so that
// what two-level scales round away averages out.
TEST_P(TrainedMatrixTest, GradientsOfScalesAndOffsetsAreSlopes) {
  TrainedMatrix m(quantized(GetParam().scheme), {});
  const std::vector<float> c = weights(2);
  const auto loss = [&] {
    const std::vector<float> v = m.values();
    double sum = 0;
    for (size_t i = 0; i < v.size(); ++i) sum += static_cast<double>(c[i]) * static_cast<double>(v[i]);
    return sum;
  };
  m.add_gradient(c);
  double expected = 0, norm = 0;
  const double before = loss();
  // Large beside the steps in which the scales are stored: an eighth of d in Q2_K's 4 bits, 2^-8 in bfloat16.
  const bool two_levels = GetParam().scheme.levels.front().block != GetParam().scheme.levels.back().block;
  const float step = two_levels ? 0.25F : 0.1F;
  for (const Parameter& p : m.parameters())
    for (size_t i = 0; i < p.values.size(); ++i) {
      const float direction = p.gradient[i] > 0 ? 1 : -1;
      expected += static_cast<double>(step * direction * p.gradient[i]);
      norm += std::abs(static_cast<double>(p.gradient[i]));
      p.values[i] += step * direction;
    }
  ASSERT_GT(norm, 0);
  m.settle();
  EXPECT_NEAR((loss() - before) / expected, 1, two_levels ? 0.5 : 0.04);
}

TEST_P(TrainedMatrixTest, ACodeGoesOneStepAtMostTheWayItsGradientSays) {
  const QuantizedMatrix q = quantized(GetParam().scheme);
  const Grid& grid = find_grid(q.scheme.grid);
  TrainedMatrix m(q, {.scales = false, .codes = true});
  ASSERT_EQ(m.parameters().size(), 1U);
  const std::vector<float> c = weights(3), before = m.values();
  m.add_gradient(c);
  const Parameter p = m.parameters().front();
  EXPECT_TRUE(p.code);
  for (size_t i = 0; i < p.values.size(); ++i) p.values[i] -= p.gradient[i] > 0 ? 5.0F : p.gradient[i] < 0 ? -5.0F : 0;
  m.settle();
  const std::vector<float> after = m.values();
  int64_t moved = 0;
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t col = 0; col < kCols; ++col) {
      const auto i = static_cast<size_t>(r * kCols + col);
      EXPECT_LE(c[i] * (after[i] - before[i]), 0) << i;
      const ScaleOffset e = grid.effective(q, r, col);
      const Grid::Neighbours beside = grid.neighbours(q.scheme, {1, e.offset}, q.codes[i]);
      const uint32_t code = m.matrix().codes[i];
      EXPECT_TRUE(code == q.codes[i] || code == beside.below || code == beside.above) << i;
      moved += code != q.codes[i];
    }
  EXPECT_GT(moved, kRows * kCols / 2);
}

INSTANTIATE_TEST_SUITE_P(Schemes, TrainedMatrixTest, testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.name; });

TEST(TrainedMatrix, ZerosOfAPrunedMatrixStay) {
  std::vector<float> w = weights(1);
  for (size_t i = 0; i < w.size(); i += 2) w[i] = 0;
  QuantizedMatrix q = allocate(symmetric_int(4, 32, Dtype::f16), kRows, kCols);
  find_grid("int").fit_and_encode(w, {}, q);
  TrainedMatrix m(q, {.codes = true, .keep_zeros = true});
  for (const Parameter& p : m.parameters())
    for (float& x : p.values) x += 0.9F;
  m.settle();
  const std::vector<float> v = m.values();
  for (size_t i = 0; i < v.size(); i += 2) EXPECT_EQ(v[i], 0) << i;
}

TEST(TrainedMatrix, CodesThatAreChosenTogetherStayAndTheirScalesAreTrained) {
  const Scheme scheme = codebook_words("iq2_xxs", 3, 8, 32);
  const QuantizedMatrix q = quantized(scheme);
  TrainedMatrix m(q, {.codes = true});
  EXPECT_EQ(m.parameters().size(), 1U);
  for (const Parameter& p : m.parameters())
    for (float& x : p.values) x *= 1.1F;
  m.settle();
  EXPECT_EQ(m.matrix().codes, q.codes);
  EXPECT_NE(m.matrix().params, q.params);
}

}  // namespace
}  // namespace kerf
