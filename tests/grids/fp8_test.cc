// The fp8 grid on scales of every extent, and what its search promises.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/error.h"
#include "grids/grid.h"
#include "grids/search/fp8_search.h"

namespace kerf {
namespace {

std::vector<float> normal(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, 0.03f);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = rng() % 50 ? d(rng) : 8 * d(rng);
  return w;
}

constexpr Block kBlocks[] = {{0, 0}, {1, 0}, {1, 24}, {128, 128}, {3, 40}};

std::vector<Scheme> schemes() {
  std::vector<Scheme> all;
  for (const Block& b : kBlocks)
    for (Dtype scale : {Dtype::f16, Dtype::bf16, Dtype::f32}) all.push_back(fp8(b, scale));
  return all;
}

QuantizedMatrix quantized(const Scheme& s, std::span<const float> w, int64_t rows, int64_t cols,
                          std::span<const float> importance = {}) {
  QuantizedMatrix q = allocate(s, rows, cols);
  find_grid("fp8").fit(w, importance, q);
  find_grid("fp8").encode(w, q);
  return q;
}

double squared_error(std::span<const float> w, const QuantizedMatrix& q, std::span<const float> importance = {}) {
  std::vector<float> back(w.size());
  find_grid("fp8").decode(q, back);
  double e = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(back[i]);
    e += d * d * (importance.empty() ? 1.0 : static_cast<double>(importance[i % static_cast<size_t>(q.cols)]));
  }
  return e;
}

TEST(Fp8Grid, EncodingChoosesTheNearestOfAllCodes) {
  const auto w = normal(5 * 120, 1);
  const Grid& grid = find_grid("fp8");
  for (const Scheme& s : schemes()) {
    const QuantizedMatrix q = quantized(s, w, 5, 120);
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t c = 0; c < 120; ++c) {
        const ScaleOffset e = grid.effective(q, r, c);
        const float x = w[static_cast<size_t>(r * 120 + c)];
        const uint32_t code = q.code_row(r)[static_cast<size_t>(c)];
        EXPECT_EQ(grid.nearest(s, e, x), code);
        const float distance = std::abs(grid.value(s, e, code) - x);
        // x / scale and the values are rounded to float32, which moves a boundary by at most 2^-23 of x.
        for (uint32_t other = 0; other < 256; ++other) {
          if ((other & 0x7f) == 0x7f) continue;
          EXPECT_LE(distance, std::abs(grid.value(s, e, other) - x) + std::abs(x) * 0x1p-22f) << describe(s);
        }
      }
  }
}

TEST(Fp8Grid, DecodesWhatEffectiveAndValueSay) {
  const auto w = normal(5 * 120, 2);
  const Grid& grid = find_grid("fp8");
  for (const Scheme& s : schemes()) {
    const QuantizedMatrix q = quantized(s, w, 5, 120);
    std::vector<float> back(w.size());
    grid.decode(q, back);
    for (int64_t i = 0; i < 5 * 120; ++i) {
      const ScaleOffset e = grid.effective(q, i / 120, i % 120);
      EXPECT_EQ(back[static_cast<size_t>(i)], grid.value(s, e, q.codes[static_cast<size_t>(i)]));
      EXPECT_EQ(grid.project(q, 0, 0, e).scale, e.scale) << "parameters are what project calls stored";
    }
  }
}

TEST(Fp8Grid, BlocksAreCutOffAtTheEdges) {
  const QuantizedMatrix q = allocate(fp8({128, 128}, Dtype::f32), 130, 300);
  EXPECT_EQ(q.params[0].rows, 2);
  EXPECT_EQ(q.params[0].cols, 3);
  // Each part has the scale of a matrix that consists of it alone.
  const auto w = normal(130 * 300, 3);
  QuantizedMatrix fitted = quantized(fp8({128, 128}, Dtype::f32), w, 130, 300);
  std::vector<float> corner;
  for (int64_t r = 128; r < 130; ++r)
    for (int64_t c = 256; c < 300; ++c) corner.push_back(w[static_cast<size_t>(r * 300 + c)]);
  const QuantizedMatrix alone = quantized(fp8({0, 0}, Dtype::f32), corner, 2, 44);
  EXPECT_EQ(fitted.params[0].get(1, 2), alone.params[0].get(0, 0));
  EXPECT_THROW(allocate(fp8({1, 128}, Dtype::f32), 130, 300), Error) << "groups of one row divide it";
}

TEST(Fp8Grid, RowsCutOutOfAMatrixKeepTheirValues) {
  const auto w = normal(300 * 40, 7);
  for (const Block& b : {Block{0, 0}, Block{1, 0}, Block{128, 128}, Block{64, 16}}) {
    const QuantizedMatrix q = quantized(fp8(b, Dtype::f32), w, 300, 40);
    std::vector<float> all(w.size());
    find_grid("fp8").decode(q, all);
    const QuantizedMatrix part = rows_of(q, 128, 300);
    EXPECT_EQ(allocate(q.scheme, 172, 40).params[0].bytes.size(), part.params[0].bytes.size());
    std::vector<float> cut(172 * 40);
    find_grid("fp8").decode(part, cut);
    EXPECT_TRUE(std::equal(cut.begin(), cut.end(), all.begin() + 128 * 40)) << describe(q.scheme);
  }
}

TEST(Fp8Grid, EveryRowHasItsOwnScaleWhenTheBlockIsARow) {
  auto w = normal(3 * 64, 4);
  for (size_t i = 64; i < 128; ++i) w[i] *= 1000;
  const QuantizedMatrix q = quantized(fp8({1, 0}, Dtype::f32), w, 3, 64);
  EXPECT_GT(q.params[0].get(1, 0), 100 * q.params[0].get(0, 0));
  EXPECT_LT(q.params[0].get(2, 0), 10 * q.params[0].get(0, 0));
}

TEST(Fp8Grid, SearchedScalesAreNeverWorseThanAbsmaxOver448) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    const auto w = normal(96, seed);
    float most = 0;
    for (float x : w) most = std::max(most, std::abs(x));
    for (Dtype stored : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
      QuantizedMatrix plain = allocate(fp8({1, 0}, stored), 1, 96);
      plain.params[0].set(0, 0, most / 448);
      find_grid("fp8").encode(w, plain);
      // The search compares sums of float32 squares: 96 terms in 16 lanes of 6, relative error below 8 * 2^-24.
      EXPECT_LE(squared_error(w, quantized(plain.scheme, w, 1, 96)), squared_error(w, plain) * (1 + 0x1p-20));
    }
  }
}

TEST(Fp8Grid, SearchingLowersTheErrorOfRowsWell) {
  const auto w = normal(64 * 288, 5);
  QuantizedMatrix plain = allocate(fp8({1, 0}, Dtype::f32), 64, 288);
  for (int64_t r = 0; r < 64; ++r) {
    float most = 0;
    for (int64_t c = 0; c < 288; ++c) most = std::max(most, std::abs(w[static_cast<size_t>(r * 288 + c)]));
    plain.params[0].set(r, 0, most / 448);
  }
  find_grid("fp8").encode(w, plain);
  EXPECT_LT(squared_error(w, quantized(plain.scheme, w, 64, 288)), 0.95 * squared_error(w, plain));
}

TEST(Fp8Grid, ImportanceMovesTheErrorToUnimportantColumns) {
  const auto w = normal(64 * 96, 6);
  std::vector<float> importance(96, 0.01f);
  for (size_t i = 0; i < 96; i += 4) importance[i] = 10;
  const Scheme s = fp8({1, 0}, Dtype::f32);
  EXPECT_LT(squared_error(w, quantized(s, w, 64, 96, importance), importance),
            0.97 * squared_error(w, quantized(s, w, 64, 96), importance));
}

TEST(Fp8Grid, ZeroTinyAndConstantBlocksAreExactOrZero) {
  for (const Scheme& s : schemes())
    for (float value : {0.0f, 1.0f, -1.0f, 1e-30f, 0x1p-149f}) {
      const std::vector<float> w(120, value);
      const QuantizedMatrix q = quantized(s, w, 1, 120);
      std::vector<float> back(120);
      find_grid("fp8").decode(q, back);
      for (float x : back) EXPECT_NEAR(x, value, std::abs(value) * 0x1p-8 + 0x1p-20) << describe(s);
    }
}

TEST(Fp8Grid, AScalePastItsStoredTypeIsANumericalError) {
  QuantizedMatrix q = allocate(fp8({0, 0}, Dtype::f16), 1, 32);
  try {
    find_grid("fp8").fit(std::vector<float>(32, 1e9f), {}, q);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::numerical);
  }
}

TEST(Fp8Grid, NeighboursAreTheNextNumbersOnTheGrid) {
  const Grid& grid = find_grid("fp8");
  const Scheme s = fp8({1, 0}, Dtype::f32);
  for (float scale : {0.5f, -0.5f}) {
    const ScaleOffset e{scale, 0};
    for (uint32_t c = 0; c < 256; ++c) {
      if ((c & 0x7f) == 0x7f) continue;
      const float here = grid.value(s, e, c);
      float below = -std::numeric_limits<float>::infinity(), above = std::numeric_limits<float>::infinity();
      for (uint32_t other = 0; other < 256; ++other) {
        if ((other & 0x7f) == 0x7f) continue;
        const float x = grid.value(s, e, other);
        if (x < here) below = std::max(below, x);
        if (x > here) above = std::min(above, x);
      }
      const auto n = grid.neighbours(s, e, c);
      EXPECT_EQ(grid.value(s, e, n.below), std::isfinite(below) ? below : here) << c;
      EXPECT_EQ(grid.value(s, e, n.above), std::isfinite(above) ? above : here) << c;
    }
  }
}

TEST(Fp8Grid, ChecksAndDescribesItsSchemes) {
  const Grid& grid = find_grid("fp8");
  for (const Scheme& s : schemes()) EXPECT_NO_THROW(grid.check(s));
  EXPECT_THROW(grid.check(fp8({1, 0}, Dtype::i32)), Error);
  EXPECT_THROW(grid.check(symmetric_int(8, 0, Dtype::f32)), Error);
  EXPECT_THROW(find_grid("int").check(fp8({1, 0}, Dtype::f32)), Error);
  EXPECT_EQ(rows_together(fp8({0, 0}, Dtype::f32)), 0);
  EXPECT_EQ(rows_together(fp8({128, 128}, Dtype::f32)), 128);
  EXPECT_EQ(rows_together(symmetric_int(4, 32, Dtype::f32)), 1);
  EXPECT_EQ(describe(fp8({0, 0}, Dtype::f32)), "fp8 tensor F32");
  EXPECT_EQ(describe(fp8({1, 0}, Dtype::bf16)), "fp8 channel BF16");
  EXPECT_EQ(describe(fp8({128, 128}, Dtype::bf16)), "fp8 128x128 BF16");
}

TEST(Fp8Searches, AgreeBitForBitOnEveryInstructionSet) {
  const Fp8Search* reference = nullptr;
  for (const Fp8Search* f : all_fp8_searches())
    if (f->isa == Isa::ref) reference = f;
  ASSERT_TRUE(reference);
  for (int64_t rows : {1, 3, 130})
    for (int64_t cols : {1, 7, 16, 24, 129, 5000}) {
      if (rows * cols > 20000) continue;
      const int64_t stride = cols + 3;
      const auto w = normal(rows * stride, static_cast<uint32_t>(rows + cols));
      auto importance = normal(cols, 9);
      for (float& x : importance) x = x * x + 1e-4f;
      for (bool weighted : {true, false}) {
        const Fp8Block b{w.data(), rows, cols, stride, weighted ? importance.data() : nullptr};
        const Fp8Search::Found found = reference->search(b);
        const double error = reference->error(b, found.best);
        std::vector<uint8_t> codes(w.size()), other(w.size());
        reference->encode(w.data(), found.plain, static_cast<int64_t>(w.size()), codes.data());
        for (const Fp8Search* f : all_fp8_searches()) {
          if (f->isa > cpu_isa()) continue;
          EXPECT_EQ(f->search(b).plain, found.plain) << name_of(f->isa);
          EXPECT_EQ(f->search(b).best, found.best) << name_of(f->isa) << " " << rows << " x " << cols;
          EXPECT_EQ(f->error(b, found.best), error) << name_of(f->isa);
          f->encode(w.data(), found.plain, static_cast<int64_t>(w.size()), other.data());
          EXPECT_EQ(other, codes) << name_of(f->isa);
        }
      }
    }
}

// The vector code's own rounding against the library's, over every boundary: codes, midpoints and their neighbours.
TEST(Fp8Searches, RoundAsTheFormatSays) {
  std::vector<float> x;
  for (uint32_t c = 0; c < 0x7f; ++c) {
    const float a = f8_e4m3_to_f32(static_cast<uint8_t>(c)),
                b = c < 0x7e ? f8_e4m3_to_f32(static_cast<uint8_t>(c + 1)) : 480;
    for (float y : {a, (a + b) / 2})
      for (float z : {y, std::nextafter(y, 0.0f), std::nextafter(y, 1e9f)}) x.insert(x.end(), {z, -z});
  }
  x.insert(x.end(), {1e30f, -1e30f, 1e-30f, -1e-30f, 500.0f, std::numeric_limits<float>::max()});
  std::vector<uint8_t> codes(x.size());
  for (const Fp8Search* f : all_fp8_searches()) {
    if (f->isa > cpu_isa()) continue;
    f->encode(x.data(), 1.0f, static_cast<int64_t>(x.size()), codes.data());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(codes[i], f32_to_f8_e4m3(x[i])) << x[i];
  }
}

}  // namespace
}  // namespace kerf
