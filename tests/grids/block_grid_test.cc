// The grids of GGUF's block types, on every scheme that those use.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/error.h"
#include "grids/grid.h"
#include "grids/iq4_numbers.h"
#include "grids/search/block_search.h"
#include "grids/search/superblock_search.h"
#include "tests/grids/quantized.h"

namespace kerf {
namespace {

struct Type {
  const char* name;
  Scheme scheme;
  float constant = 0.01f;  // how near a block of one number comes to it
  double moves = 0.9;      // what importance makes of the weighted error
};
std::vector<Type> two_level() {
  return {{"Q2_K", two_level_affine(2, 16, 4)},
          {"Q3_K", two_level_symmetric(3, 16, 6)},
          {"Q4_K", two_level_affine(4, 32, 6)},
          {"Q5_K", two_level_affine(5, 32, 6)},
          {"Q6_K", two_level_symmetric(6, 16, 8)}};
}
std::vector<Type> types() {
  std::vector<Type> all = two_level();
  const Type others[] = {{"IQ4_XS", two_level_symmetric(4, 32, 6, "kquant-iq4")},
                         {"IQ4_NL", listed("iq4", 4, 32, Dtype::f16)},
                         {"Q4_1", affine(4, 32, Dtype::f16)},
                         {"Q5_1", affine(5, 32, Dtype::f16)},
                         {"MXFP4", listed("e2m1", 4, 32, Dtype::f8_e8m0), 0.125f, 1},
                         {"NVFP4", listed("e2m1", 4, 16, Dtype::f8_e4m3), 0.07f},
                         {"TQ2_0", listed("ternary", 2, 256, Dtype::f16), 0.01f, 1},
                         {"Q1_0", listed("sign", 1, 128, Dtype::f16), 0.01f, 1},
                         {"Q2_0", listed("quaternary", 2, 64, Dtype::f16)}};
  all.insert(all.end(), std::begin(others), std::end(others));
  return all;
}
uint32_t codes_of(const Type& t) { return t.scheme.grid == "ternary" ? 3 : 1u << t.scheme.bits; }

constexpr int64_t kRows = 5, kCols = 768;

std::vector<float> normal(uint32_t seed, float sigma = 0.03f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, sigma);
  std::vector<float> w(kRows * kCols);
  for (float& x : w) x = d(rng);
  return w;
}

QuantizedMatrix quantized(const Scheme& s, std::span<const float> w, std::span<const float> importance = {}) {
  return test::quantized(s, w, kRows, kCols, importance);
}
using test::squared_error;

TEST(BlockGrids, KnowTheirOwnSchemesAlone) {
  for (const Type& t : types()) {
    EXPECT_NO_THROW(find_grid(t.scheme.grid).check(t.scheme)) << t.name;
  }
  EXPECT_EQ(group_columns(two_level_affine(4, 32, 6), kCols), 32);
  EXPECT_EQ(superblock_columns(two_level_affine(4, 32, 6), kCols), 256);
  EXPECT_EQ(superblock_columns(affine(4, 32, Dtype::f16), kCols), 32);
  for (const Type& t : types())
    for (const Grid* grid : all_grids())
      if (grid->name() != t.scheme.grid) {
        EXPECT_THROW(grid->check(t.scheme), Error) << t.name << " on " << grid->name();
      }
  EXPECT_THROW(find_grid("affine").check(affine(4, 40, Dtype::f16)), Error);
  EXPECT_THROW(find_grid("iq4").check(listed("iq4", 3, 32, Dtype::f16)), Error);
  EXPECT_THROW(find_grid("kquant").check(two_level_affine(7, 32, 6)), Error);
  EXPECT_THROW(find_grid("kquant").check(symmetric_int(4, 32, Dtype::f16)), Error);
  EXPECT_THROW(allocate(types()[0].scheme, kRows, 288), Error);
}

TEST(BlockGrids, EncodingChoosesTheNearestCodeAndDecodingItsValue) {
  const auto w = normal(1);
  for (const Type& t : types()) {
    const Grid& grid = find_grid(t.scheme.grid);
    const QuantizedMatrix q = quantized(t.scheme, w);
    std::vector<float> back(w.size());
    grid.decode(q, back);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const ScaleOffset e = grid.effective(q, i / kCols, i % kCols);
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(grid.nearest(t.scheme, e, w[at]), q.codes[at]) << t.name;
      ASSERT_EQ(grid.value(t.scheme, e, q.codes[at]), back[at]) << t.name;
      for (uint32_t other = 0; other < codes_of(t); ++other)
        // One step of float32 rounding may decide a tie either way: 2^-20 of a value below 2^6 steps.
        EXPECT_LE(std::abs(back[at] - w[at]),
                  std::abs(grid.value(t.scheme, e, other) - w[at]) + std::abs(e.scale) * 0x1p-14f)
            << t.name;
    }
  }
}

TEST(BlockGrids, RoundingManyIsRoundingEach) {
  const auto w = normal(2);
  for (const Type& t : types()) {
    const Grid& grid = find_grid(t.scheme.grid);
    const QuantizedMatrix q = quantized(t.scheme, w);
    std::vector<float> scale, offset, values(w.size());
    std::vector<uint8_t> codes(w.size());
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const ScaleOffset e = grid.effective(q, i / kCols, i % kCols);
      scale.push_back(e.scale);
      offset.push_back(e.offset);
    }
    grid.round(t.scheme, scale.data(), offset.data(), w.data(), kRows * kCols, codes.data(), values.data());
    EXPECT_EQ(codes, q.codes) << t.name;
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_EQ(values[i], grid.value(t.scheme, {scale[i], offset[i]}, codes[i])) << t.name;
  }
}

TEST(BlockGrids, ProjectedParametersCanBeSetAndReadBack) {
  const auto w = normal(3);
  for (const Type& t : types()) {
    const Grid& grid = find_grid(t.scheme.grid);
    QuantizedMatrix q = quantized(t.scheme, w);
    const int64_t block = group_columns(t.scheme, kCols);
    for (int64_t c = 0; c < kCols; c += block) {
      const ScaleOffset stored = grid.effective(q, 1, c), same = grid.project(q, 1, c, stored);
      EXPECT_EQ(stored.scale, same.scale) << t.name;
      EXPECT_EQ(stored.offset, same.offset) << t.name;
      const QuantizedMatrix before = q;
      const ScaleOffset p = grid.project(q, 1, c, {stored.scale * 0.7f, stored.offset * 0.8f});
      grid.set(q, 1, c, p);
      const ScaleOffset now = grid.effective(q, 1, c + block - 1);
      EXPECT_EQ(now.scale, p.scale) << t.name;
      EXPECT_EQ(now.offset, p.offset) << t.name;
      if (c + block < kCols) {
        EXPECT_EQ(grid.effective(q, 1, c + block).scale, grid.effective(before, 1, c + block).scale) << t.name;
      }
    }
  }
}

TEST(BlockGrids, NeighboursAreTheNextNumbersDownAndUp) {
  for (const Type& t : types()) {
    const Grid& grid = find_grid(t.scheme.grid);
    for (float scale : {0.5f, -0.5f}) {
      const ScaleOffset e{scale, grid.effective(allocate(t.scheme, 1, kCols), 0, 0).offset};
      for (uint32_t c = 0; c < codes_of(t); ++c) {
        const float x = grid.value(t.scheme, e, c);
        const auto [down, up] = grid.neighbours(t.scheme, e, c);
        const float below = grid.value(t.scheme, e, down), above = grid.value(t.scheme, e, up);
        for (uint32_t other = 0; other < codes_of(t); ++other) {
          const float y = grid.value(t.scheme, e, other);
          EXPECT_TRUE(y < x ? y <= below && below < x : y > x ? y >= above && above > x : true) << t.name;
        }
      }
    }
  }
}

TEST(BlockGrids, ImportanceMovesTheErrorToUnimportantColumns) {
  const auto w = normal(4);
  std::vector<float> importance(kCols, 0.01f);
  for (size_t i = 0; i < kCols; i += 4) importance[i] = 10;
  for (const Type& t : types())
    EXPECT_LT(squared_error(w, quantized(t.scheme, w, importance), importance),
              t.moves * squared_error(w, quantized(t.scheme, w), importance))
        << t.name;
}

// Every type holds zeros; numbers below the smallest scale times a code may vanish.
TEST(BlockGrids, ZeroTinyAndConstantBlocksAreNearOrZero) {
  for (const Type& t : types())
    for (float value : {0.0f, 1.0f, -1.0f, 1e-30f, 0x1p-149f, 2000.0f}) {
      const std::vector<float> w(kRows * kCols, value);
      std::vector<float> back(w.size());
      find_grid(t.scheme.grid).decode(quantized(t.scheme, w), back);
      for (float x : back) {
        ASSERT_TRUE(std::isfinite(x)) << t.name << " " << value;
        EXPECT_NEAR(x, value, std::abs(value) * t.constant + 0x1p-16f) << t.name;
      }
    }
}

TEST(BlockGrids, ChannelsWithoutImportanceDoNoHarm) {
  const auto w = normal(5);
  for (const Type& t : types()) {
    const double plain = squared_error(w, quantized(t.scheme, w));
    EXPECT_EQ(squared_error(w, quantized(t.scheme, w, std::vector<float>(kCols, 0.0f))), plain) << t.name;
    for (float rare : {0.0f, 1e-42f, 1e-30f, 1e-12f}) {
      std::vector<float> importance(kCols, 1e-3f);
      std::fill_n(importance.begin() + 256, 300, rare);
      EXPECT_LT(squared_error(w, quantized(t.scheme, w, importance)), 2 * plain) << t.name << " " << rare;
    }
  }
}

// Against the plain parameters: every sub-block spans its range, the largest scale and minimum take the last code. A
// hundredth above what was found when the test was written.
TEST(BlockGrids, SearchingLowersTheErrorOfGaussianWeightsWell) {
  const double at_most[] = {0.65, 0.885, 0.813, 0.861, 0.804};
  for (size_t i = 0; i < two_level().size(); ++i) {
    const Type t = two_level()[i];
    const auto w = normal(6);
    QuantizedMatrix plain = allocate(t.scheme, kRows, kCols);
    const int64_t sub = group_columns(t.scheme, kCols);
    const bool affine = adds_offset(t.scheme);
    const float top = static_cast<float>((1 << t.scheme.bits) - 1), half = static_cast<float>(1 << (t.scheme.bits - 1));
    const float last = static_cast<float>((1 << stored_bits(t.scheme.levels.back())) - 1);
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kCols; c += 256) {
        std::vector<ScaleOffset> wanted;
        float scale = 0, low = 0;
        for (int64_t b = 0; b < 256; b += sub) {
          const auto part = std::span(w).subspan(static_cast<size_t>(r * kCols + c + b), static_cast<size_t>(sub));
          const auto [least, most] = std::minmax_element(part.begin(), part.end());
          const float begin = std::min(*least, 0.0f), end = std::max(*most, 0.0f);
          wanted.push_back(affine ? ScaleOffset{(end - begin) / top, begin}
                                  : ScaleOffset{(end > -begin ? end : begin) / -half, half});
          if (std::abs(wanted.back().scale) > std::abs(scale)) scale = wanted.back().scale;
          low = std::min(low, wanted.back().offset);
        }
        plain.params[0].set(r, c / 256, affine ? scale / last : scale / (-(last + 1) / 2));
        if (affine) plain.params[1].set(r, c / 256, -low / last);
        for (int64_t b = 0; b < 256; b += sub)
          find_grid("kquant").set(plain, r, c + b,
                                  find_grid("kquant").project(plain, r, c + b, wanted[static_cast<size_t>(b / sub)]));
      }
    find_grid("kquant").encode(w, plain);
    EXPECT_LT(squared_error(w, quantized(t.scheme, w)), at_most[i] * squared_error(w, plain)) << t.name;
  }
}

// The promise "the same bytes everywhere": one text, three instruction sets, equal bits.
TEST(SuperblockSearches, AgreeBitForBitOnEveryInstructionSet) {
  const SuperblockSearch* reference = nullptr;
  for (const SuperblockSearch* f : all_superblock_searches())
    if (f->isa == Isa::ref) reference = f;
  ASSERT_TRUE(reference);
  const auto w = normal(7);
  std::vector<float> importance = normal(8);
  for (float& x : importance) x = x * x + 1e-4f;
  for (const Type& t : two_level())
    for (bool weighted : {false, true})
      for (int64_t supers : {1, 2, 7}) {
        const Level& level = t.scheme.levels.back();
        const KFitProblem p{.w = w.data(),
                            .supers = supers,
                            .importance = weighted ? importance.data() : nullptr,
                            .importance_supers = 3,
                            .bits = t.scheme.bits,
                            .sub = static_cast<int>(level.block.cols),
                            .sub_bits = stored_bits(level),
                            .affine = adds_offset(t.scheme)};
        struct Found {
          std::vector<float> d = std::vector<float>(7), e = d, s = std::vector<float>(7 * 16), m = s;
          bool operator==(const Found&) const = default;
        };
        const auto run = [&](const SuperblockSearch& f) {
          Found x;
          f.search(p, {x.d.data(), x.e.data(), x.s.data(), x.m.data()});
          return x;
        };
        const Found expected = run(*reference);
        for (const SuperblockSearch* f : all_superblock_searches())
          EXPECT_TRUE(f->isa > cpu_isa() || run(*f) == expected) << t.name << " " << name_of(f->isa);
      }
}

TEST(BlockSearches, AgreeBitForBitOnEveryInstructionSet) {
  const BlockSearch* reference = nullptr;
  for (const BlockSearch* f : all_block_searches())
    if (f->isa == Isa::ref) reference = f;
  ASSERT_TRUE(reference);
  const auto w = normal(9);
  std::vector<float> importance = normal(10);
  for (float& x : importance) x = x * x + 1e-4f;
  const LevelTable iq4 = iq4_numbers(), ternary({-1, 0, 1}),
                   e2m1({0, .5f, 1, 1.5f, 2, 3, 4, 6, -.5f, -1, -1.5f, -2, -3, -4, -6});
  const auto f16 = [](const FlatFitProblem&, float x, int) { return round_to(Dtype::f16, x); };
  for (const LevelTable* level_table : {static_cast<const LevelTable*>(nullptr), &iq4, &ternary, &e2m1})
    for (int64_t size : {16, 32, 256})
      for (int64_t blocks : {1, 7, 15})
        for (bool weighted : {false, true}) {
          const FlatFitProblem p{.w = w.data(),
                                 .blocks = blocks,
                                 .size = size,
                                 .importance = weighted ? importance.data() : nullptr,
                                 .importance_blocks = 3,
                                 .bits = 4,
                                 .zero = 0,
                                 .level_table = level_table,
                                 .stored = f16,
                                 .type = Dtype::f16,
                                 .steps = level_table == &e2m1};
          std::vector<float> scratch(static_cast<size_t>(2 * kFlatLanes * (size + 1) + 16));
          const auto address = reinterpret_cast<uintptr_t>(scratch.data());
          struct Found {
            std::vector<float> scales = std::vector<float>(15), offsets = scales;
            std::vector<uint8_t> codes = std::vector<uint8_t>(kRows * kCols);
            bool operator==(const Found&) const = default;
          };
          const auto run = [&](const BlockSearch& f) {
            Found x;
            f.search(p, scratch.data() + (64 - address % 64) % 64 / 4, x.scales.data(), x.offsets.data());
            f.encode(p, x.scales.data(), x.offsets.data(), x.codes.data());
            return x;
          };
          const Found expected = run(*reference);
          for (const BlockSearch* f : all_block_searches())
            EXPECT_TRUE(f->isa > cpu_isa() || run(*f) == expected) << name_of(f->isa) << " " << size;
        }
}

// The cells by which the searches look a number up, against comparing with every number.
TEST(Alphabets, CellsHoldTheNearestNumber) {
  const LevelTable level_tables[] = {iq4_numbers(), LevelTable({-1, 0, 1}), LevelTable({-1, 1}),
                                     LevelTable({-1, 0, 1, 2}),
                                     LevelTable({0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6})};
  for (const LevelTable& a : level_tables) {
    const float first = a.ascending.front(), last = a.ascending.back(), range = last - first;
    std::vector<float> tries = a.between;
    for (const float x : a.between) {
      tries.push_back(std::nextafter(x, first));
      tries.push_back(std::nextafter(x, last));
    }
    for (int i = -1000; i < 11000; ++i) tries.push_back(first + range * static_cast<float>(i) / 10000);
    for (const float x : tries) {
      const float cell =
          std::clamp(std::nearbyint(x * a.cells_per_unit + a.first_cell), 0.0f, LevelTable::kCells - 1.0f);
      const auto c = static_cast<size_t>(cell);
      ASSERT_EQ(a.lower[c] + (x > a.limit[c] ? a.step[c] : 0), a.number[a.nearest(x)]) << x;
      for (const float number : a.number) ASSERT_LE(std::abs(a.number[a.nearest(x)] - x), std::abs(number - x)) << x;
    }
  }
  EXPECT_THROW(LevelTable({0, 1, 2, 1000}), Error);
}

TEST(BlockGrids, AScalePastItsTypeIsANumericalError) {
  for (float huge : {1e9f, 1e20f, 1e38f})
    for (const Type& t : types()) try {
        if (t.scheme.levels[0].stored == Dtype::f8_e8m0) continue;  // reaches as far as float32
        quantized(t.scheme, std::vector<float>(kRows * kCols, huge));
        FAIL() << t.name << " accepted";
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::numerical);
      }
}

}  // namespace
}  // namespace kerf
