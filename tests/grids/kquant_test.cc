// The two-level grid of GGUF's K types, on every scheme that those use.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/error.h"
#include "grids/grid.h"

namespace kerf {
namespace {

struct Type {
  const char* name;
  Scheme scheme;
  double bits;
};
std::vector<Type> types() {
  return {{"Q2_K", two_level_affine(2, 16, 4), 2.625},
          {"Q3_K", two_level_symmetric(3, 16, 6), 3.4375},
          {"Q4_K", two_level_affine(4, 32, 6), 4.5},
          {"Q5_K", two_level_affine(5, 32, 6), 5.5},
          {"Q6_K", two_level_symmetric(6, 16, 8), 6.5625}};
}

constexpr int64_t kRows = 5, kCols = 768;

std::vector<float> normal(uint32_t seed, float sigma = 0.03f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, sigma);
  std::vector<float> w(kRows * kCols);
  for (float& x : w) x = d(rng);
  return w;
}

double squared_error(std::span<const float> w, const QuantizedMatrix& q, std::span<const float> importance = {}) {
  std::vector<float> back(w.size());
  find_grid("kquant").decode(q, back);
  double e = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(back[i]);
    e += d * d * (importance.empty() ? 1.0 : static_cast<double>(importance[i % static_cast<size_t>(q.cols)]));
  }
  return e;
}

QuantizedMatrix quantized(const Scheme& s, std::span<const float> w, std::span<const float> importance = {}) {
  QuantizedMatrix q = allocate(s, kRows, kCols);
  const Grid& grid = find_grid("kquant");
  grid.check(s);
  grid.fit(w, importance, q);
  grid.encode(w, q);
  return q;
}

TEST(KQuantGrid, SchemesTakeTheBitsThatGgufSays) {
  for (const Type& t : types()) {
    EXPECT_EQ(bits_per_weight(t.scheme, kRows, kCols), t.bits) << t.name;
    EXPECT_EQ(own_block(t.scheme, kCols), t.bits == 4.5 || t.bits == 5.5 ? 32 : 16) << t.name;
    EXPECT_EQ(outer_block(t.scheme, kCols), 256) << t.name;
  }
  EXPECT_THROW(find_grid("kquant").check(two_level_affine(7, 32, 6)), Error);
  EXPECT_THROW(find_grid("kquant").check(symmetric_int(4, 32, Dtype::f16)), Error);
  EXPECT_THROW(allocate(types()[0].scheme, kRows, 288), Error);
}

TEST(KQuantGrid, EncodingChoosesTheNearestCodeAndDecodingItsValue) {
  const auto w = normal(1);
  const Grid& grid = find_grid("kquant");
  for (const Type& t : types()) {
    const QuantizedMatrix q = quantized(t.scheme, w);
    std::vector<float> back(w.size());
    grid.decode(q, back);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const Effective e = grid.effective(q, i / kCols, i % kCols);
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(grid.nearest(t.scheme, e, w[at]), q.codes[at]) << t.name;
      ASSERT_EQ(grid.value(t.scheme, e, q.codes[at]), back[at]) << t.name;
      for (uint32_t other = 0; other < (1u << t.scheme.bits); ++other)
        // One step of float32 rounding may decide a tie either way: 2^-20 of a value below 2^6 steps.
        EXPECT_LE(std::abs(back[at] - w[at]),
                  std::abs(grid.value(t.scheme, e, other) - w[at]) + std::abs(e.scale) * 0x1p-14f)
            << t.name;
    }
  }
}

TEST(KQuantGrid, RoundingManyIsRoundingEach) {
  const auto w = normal(2);
  const Grid& grid = find_grid("kquant");
  for (const Type& t : types()) {
    const QuantizedMatrix q = quantized(t.scheme, w);
    std::vector<float> scale, offset, values(w.size());
    std::vector<uint8_t> codes(w.size());
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const Effective e = grid.effective(q, i / kCols, i % kCols);
      scale.push_back(e.scale);
      offset.push_back(e.offset);
    }
    grid.round(t.scheme, scale.data(), offset.data(), w.data(), kRows * kCols, codes.data(), values.data());
    EXPECT_EQ(codes, q.codes) << t.name;
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_EQ(values[i], grid.value(t.scheme, {scale[i], offset[i]}, codes[i])) << t.name;
  }
}

TEST(KQuantGrid, ProjectedParametersCanBeSetAndReadBack) {
  const auto w = normal(3);
  const Grid& grid = find_grid("kquant");
  for (const Type& t : types()) {
    QuantizedMatrix q = quantized(t.scheme, w);
    const int64_t block = own_block(t.scheme, kCols);
    for (int64_t c = 0; c < kCols; c += block) {
      const Effective stored = grid.effective(q, 1, c), same = grid.project(q, 1, c, stored);
      EXPECT_EQ(stored.scale, same.scale) << t.name;
      EXPECT_EQ(stored.offset, same.offset) << t.name;
      const QuantizedMatrix before = q;
      const Effective p = grid.project(q, 1, c, {stored.scale * 0.7f, stored.offset * 0.8f});
      grid.set(q, 1, c, p);
      const Effective now = grid.effective(q, 1, c + block - 1);
      EXPECT_EQ(now.scale, p.scale) << t.name;
      EXPECT_EQ(now.offset, p.offset) << t.name;
      if (c + block < kCols) {
        EXPECT_EQ(grid.effective(q, 1, c + block).scale, grid.effective(before, 1, c + block).scale) << t.name;
      }
    }
  }
}

TEST(KQuantGrid, NeighboursAreTheNextNumbersDownAndUp) {
  const Grid& grid = find_grid("kquant");
  for (const Type& t : types())
    for (float scale : {0.5f, -0.5f}) {
      const Effective e{scale, adds_offset(t.scheme) ? -3.0f : static_cast<float>(1 << (t.scheme.bits - 1))};
      for (uint32_t c = 0; c < 1u << t.scheme.bits; ++c) {
        const auto [below, above] = grid.neighbours(t.scheme, e, c);
        EXPECT_LE(grid.value(t.scheme, e, below), grid.value(t.scheme, e, c));
        EXPECT_GE(grid.value(t.scheme, e, above), grid.value(t.scheme, e, c));
      }
    }
}

TEST(KQuantGrid, ImportanceMovesTheErrorToUnimportantColumns) {
  const auto w = normal(4);
  std::vector<float> importance(kCols, 0.01f);
  for (size_t i = 0; i < kCols; i += 4) importance[i] = 10;
  for (const Type& t : types())
    EXPECT_LT(squared_error(w, quantized(t.scheme, w, importance), importance),
              0.9 * squared_error(w, quantized(t.scheme, w), importance))
        << t.name;
}

// Affine K types hold a constant below zero by its minimum alone, and every type holds zeros. What is far below the
// other sub-blocks of its 256 may vanish, as may numbers below the smallest F16 times a code.
TEST(KQuantGrid, ZeroTinyAndConstantBlocksAreNearOrZero) {
  for (const Type& t : types())
    for (float value : {0.0f, 1.0f, -1.0f, 1e-30f, 0x1p-149f, 60000.0f}) {
      const std::vector<float> w(kRows * kCols, value);
      std::vector<float> back(w.size());
      find_grid("kquant").decode(quantized(t.scheme, w), back);
      for (float x : back) {
        ASSERT_TRUE(std::isfinite(x)) << t.name << " " << value;
        EXPECT_NEAR(x, value, std::abs(value) * 0.01 + 0x1p-16) << t.name;
      }
    }
}

TEST(KQuantGrid, AScalePastF16IsANumericalError) {
  const std::vector<float> w(kRows * kCols, 1e9f);
  for (const Type& t : types()) try {
      quantized(t.scheme, w);
      FAIL() << t.name << " accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::numerical);
    }
}

}  // namespace
}  // namespace kerf
