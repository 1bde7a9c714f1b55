// Every grid on schemes of its own, and what the integer search promises.
#include "grids/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/error.h"
#include "grids/search/int_search.h"
#include "tests/grids/quantized.h"

namespace kerf {
namespace {

std::vector<float> normal(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, 0.03f);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}

std::vector<Scheme> int_schemes() {
  std::vector<Scheme> all;
  for (int bits = 2; bits <= 8; ++bits)
    for (int64_t group : {int64_t{0}, int64_t{24}, int64_t{32}})
      for (Dtype scale : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
        all.push_back(symmetric_int(bits, group, scale));
        all.push_back(asymmetric_int(bits, group, scale));
      }
  return all;
}

using test::quantized;
using test::squared_error;

TEST(IntGrid, AZeroPointThatMayNotBeStoredIsTurnedRoundWithoutLoss) {
  auto w = normal(8 * 32, 5);
  for (size_t i = 0; i < w.size() / 2; ++i) w[i] = std::abs(w[i]);  // zero points of 0
  for (int bits : {2, 3, 4, 8}) {
    const QuantizedMatrix any = quantized(asymmetric_int(bits, 32, Dtype::f16), w, 8, 32);
    const QuantizedMatrix from_one = quantized(asymmetric_int(bits, 32, Dtype::f16, 1), w, 8, 32);
    int turned = 0;
    for (int64_t r = 0; r < 8; ++r) {
      EXPECT_GE(from_one.params[1].get(r, 0), 1);
      turned += any.params[1].get(r, 0) == 0;
    }
    EXPECT_GT(turned, 0);
    EXPECT_EQ(squared_error(w, any), squared_error(w, from_one));
    const Grid& grid = find_grid("int");
    const ScaleOffset e = grid.project(from_one, 0, 0, {0.5f, 0.2f});
    EXPECT_EQ(e.scale, -0.5f);
    EXPECT_EQ(e.offset, static_cast<float>((1 << bits) - 1));
  }
}

TEST(IntGrid, EncodingChoosesTheNearestCodeOfAll) {
  const auto w = normal(4 * 96, 1);
  for (const Scheme& s : int_schemes()) {
    const QuantizedMatrix q = quantized(s, w, 4, 96);
    const Grid& grid = find_grid("int");
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t c = 0; c < 96; ++c) {
        const ScaleOffset e = grid.effective(q, r, c);
        const float x = w[static_cast<size_t>(r * 96 + c)];
        const uint32_t code = q.code_row(r)[static_cast<size_t>(c)];
        EXPECT_EQ(grid.nearest(s, e, x), code);
        const float distance = std::abs(grid.value(s, e, code) - x);
        for (uint32_t other = 0; other < (1u << s.bits); ++other)
          // One step of float32 rounding may decide a tie either way: 2^-20 of a value below 2^3 steps.
          EXPECT_LE(distance, std::abs(grid.value(s, e, other) - x) + std::abs(e.scale) * 0x1p-14f) << describe(s);
      }
  }
}

TEST(IntGrid, ParametersAreWhatProjectCallsStored) {
  const auto w = normal(4 * 96, 2);
  for (const Scheme& s : int_schemes()) {
    const QuantizedMatrix q = quantized(s, w, 4, 96);
    for (int64_t c = 0; c < 96; c += 24) {
      const ScaleOffset e = find_grid("int").effective(q, 1, c);
      const ScaleOffset p = find_grid("int").project(q, 1, c, e);
      EXPECT_EQ(e.scale, p.scale);
      EXPECT_EQ(e.offset, p.offset);
    }
  }
}

TEST(IntGrid, NeighboursAreTheNextNumbersDownAndUp) {
  const Grid& grid = find_grid("int");
  const Scheme s = symmetric_int(4, 32, Dtype::f16);
  for (float scale : {0.5f, -0.5f}) {
    const ScaleOffset e{scale, 8};
    for (uint32_t c = 0; c < 16; ++c) {
      const auto [below, above] = grid.neighbours(s, e, c);
      EXPECT_LE(grid.value(s, e, below), grid.value(s, e, c));
      EXPECT_GE(grid.value(s, e, above), grid.value(s, e, c));
    }
  }
}

// The plain scales of llama-quantize's Q4_0 and Q8_0 are among those that the search tries, so block by block it may be
// worse only by what it neglects. In units of the squared scale, with half = 2^(bits-1):
//   32 * 2 * half / 2^13  weights are compared as multiples of 2^-12 of the largest, so a code may be off where w / s
//                         lies within half / 2^13 of a tie, and costs twice that distance;
//   32 half^2 / 2^22      the best scale is rounded to F16, by 2^-11 at most;
//   32 half^2 / 2^20      gains, up to 32 half^2, are compared in float32: 8 roundings of 2^-24 on either side.
TEST(IntGrid, SearchedScalesAreNoWorseThanThePlainOnes) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    const auto w = normal(32, seed);
    for (int bits : {4, 8}) {
      const Scheme s = symmetric_int(bits, 32, Dtype::f16);
      const float half = static_cast<float>(1 << (bits - 1));
      float biggest = 0;
      for (float x : w)
        if (std::abs(x) > std::abs(biggest)) biggest = x;
      QuantizedMatrix plain = allocate(s, 1, 32);
      plain.params[0].set(0, 0, bits == 4 ? biggest / -half : biggest / (half - 1));
      find_grid("int").encode(w, plain);
      const double h = static_cast<double>(half), scale = static_cast<double>(biggest) / h;
      const double neglected = (64 * h * 0x1p-13 + 32 * h * h * (0x1p-22 + 0x1p-20)) * scale * scale;
      EXPECT_LE(squared_error(w, quantized(s, w, 1, 32)), squared_error(w, plain) + neglected);
    }
  }
}

// What kPast promises (grids/search/int_search_body.h), a hundredth above the figures there.
TEST(IntGrid, SearchingLowersTheErrorOfGaussianWeightsWell) {
  struct Case {
    int bits;
    int64_t group;
    double at_most;  // of the error of the plain scale
  };
  for (const Case& c : {Case{4, 32, 0.91}, Case{4, 128, 0.896}, Case{4, 2048, 0.684}, Case{8, 32, 0.874}}) {
    const auto w = normal(256 * 2048, 3);
    const Scheme s = symmetric_int(c.bits, c.group, Dtype::f16);
    const float half = static_cast<float>(1 << (c.bits - 1));
    QuantizedMatrix plain = allocate(s, 256, 2048);
    for (int64_t r = 0; r < 256; ++r)
      for (int64_t g = 0; g < 2048 / c.group; ++g) {
        float biggest = 0;
        for (const float x :
             std::span(w).subspan(static_cast<size_t>(r * 2048 + g * c.group), static_cast<size_t>(c.group)))
          if (std::abs(x) > std::abs(biggest)) biggest = x;
        plain.params[0].set(r, g, c.bits == 4 ? biggest / -half : biggest / (half - 1));
      }
    find_grid("int").encode(w, plain);
    EXPECT_LT(squared_error(w, quantized(s, w, 256, 2048)), c.at_most * squared_error(w, plain)) << describe(s);
  }
}

TEST(IntGrid, ImportanceMovesTheErrorToUnimportantColumns) {
  const auto w = normal(64 * 96, 4);
  std::vector<float> importance(96, 0.01f);
  for (size_t i = 0; i < 96; i += 4) importance[i] = 10;
  for (const Scheme& s : {symmetric_int(3, 32, Dtype::f16), asymmetric_int(3, 32, Dtype::f16)})
    EXPECT_LT(squared_error(w, quantized(s, w, 64, 96, importance), importance),
              0.8 * squared_error(w, quantized(s, w, 64, 96), importance));
}

TEST(IntGrid, ZeroTinyAndConstantBlocksAreExactOrZero) {
  for (const Scheme& s : int_schemes()) {
    for (float value : {0.0f, 1.0f, -1.0f, 1e-30f, 0x1p-149f}) {
      if (value < 0 && s.levels.size() == 1 && s.bits == 2) continue;
      const std::vector<float> w(96, value);
      const QuantizedMatrix q = quantized(s, w, 1, 96);
      std::vector<float> back(96);
      find_grid("int").decode(q, back);
      for (float x : back) {
        ASSERT_TRUE(std::isfinite(x)) << describe(s) << " " << value;
        EXPECT_NEAR(x, value, std::abs(value) * 0.01 + 0x1p-20) << describe(s);
      }
    }
  }
}

TEST(IntGrid, AScalePastItsStoredTypeIsANumericalError) {
  const std::vector<float> w(32, 1e9f);
  QuantizedMatrix q = allocate(symmetric_int(4, 32, Dtype::f16), 1, 32);
  try {
    find_grid("int").fit(w, {}, q);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::numerical);
  }
}

TEST(IntGrid, ChecksItsSchemes) {
  const Grid& grid = find_grid("int");
  for (const Scheme& s : int_schemes()) EXPECT_NO_THROW(grid.check(s));
  EXPECT_THROW(grid.check(symmetric_int(9, 32, Dtype::f16)), Error);
  EXPECT_THROW(grid.check(symmetric_int(4, 32, Dtype::i32)), Error);
  EXPECT_THROW(allocate(symmetric_int(4, 128, Dtype::f16), 4, 288), Error);
  EXPECT_THROW(find_grid("octonion"), Error);
}

// The promise "the same bytes everywhere": one text, three instruction sets, equal bits.
TEST(IntSearches, AgreeBitForBitOnEveryInstructionSet) {
  const IntSearch* reference = nullptr;
  for (const IntSearch* f : all_int_searches())
    if (f->isa == Isa::ref) reference = f;
  ASSERT_TRUE(reference);
  for (int64_t size : {1, 5, 24, 32, 128, 4100})
    for (int64_t blocks : {1, 7, 33})
      for (int bits : {2, 4, 8})
        for (bool symmetric : {true, false})
          for (bool weighted : {true, false}) {
            const Dtype stored = bits == 2 ? Dtype::f16 : bits == 4 ? Dtype::bf16 : Dtype::f32;
            const auto w = normal(blocks * size, static_cast<uint32_t>(size));
            std::vector<float> importance = normal(blocks * size, 9);
            for (float& x : importance) x = x * x + 1e-4f;
            std::vector<float> scratch(static_cast<size_t>(32 * (size + 1) + 16));
            const auto address = reinterpret_cast<uintptr_t>(scratch.data());
            IntFitProblem p{.w = w.data(),
                            .blocks = blocks,
                            .size = size,
                            .importance = weighted ? importance.data() : nullptr,
                            .importance_blocks = blocks,
                            .bits = bits,
                            .symmetric = symmetric,
                            .stored = stored,
                            .scratch = scratch.data() + (64 - address % 64) % 64 / 4};
            const size_t n = static_cast<size_t>(blocks);
            std::vector<float> scales(n), zeros(n), other_scales(n), other_zeros(n);
            std::vector<uint8_t> codes(w.size()), other_codes(w.size());
            reference->search(p, scales.data(), zeros.data());
            reference->encode(p, scales.data(), zeros.data(), codes.data());
            for (const IntSearch* f : all_int_searches()) {
              if (f->isa > cpu_isa()) continue;
              f->search(p, other_scales.data(), other_zeros.data());
              f->encode(p, other_scales.data(), other_zeros.data(), other_codes.data());
              EXPECT_EQ(scales, other_scales) << name_of(f->isa);
              EXPECT_EQ(zeros, other_zeros) << name_of(f->isa);
              EXPECT_EQ(codes, other_codes) << name_of(f->isa);
              for (float x : other_scales) EXPECT_EQ(x, round_to(stored, x));
            }
          }
}

// Numbers with parameters of their own, more and fewer than a register holds; one scale is zero.
TEST(IntSearches, RoundAsTheFormulaSaysOnEveryInstructionSet) {
  constexpr float kTop = 15, kToInteger = 12582912.0f;  // 1.5 * 2^23
  for (const bool adds : {false, true})
    for (const size_t n : {1u, 7u, 16u, 37u}) {
      const auto x = normal(static_cast<int64_t>(n), 3);
      auto scale = normal(static_cast<int64_t>(n), 4), offset = normal(static_cast<int64_t>(n), 5);
      scale[n / 2] = 0;
      std::vector<uint8_t> expected_codes;
      std::vector<float> expected_values;
      for (size_t i = 0; i < n; ++i) {
        if (!adds) offset[i] = std::nearbyint(8 + 100 * offset[i]);
        const float inverse = scale[i] != 0 ? 1.0f / scale[i] : 0.0f;
        const float at = adds ? ((x[i] - offset[i]) * inverse + kToInteger) - kToInteger
                              : (x[i] * inverse + (kToInteger + offset[i])) - kToInteger;
        const float code = std::clamp(at, 0.0f, kTop);
        expected_codes.push_back(static_cast<uint8_t>(code));
        expected_values.push_back(adds ? scale[i] * code + offset[i] : scale[i] * (code - offset[i]));
      }
      for (const IntSearch* f : all_int_searches()) {
        if (f->isa > cpu_isa()) continue;
        std::vector<uint8_t> codes(n);
        std::vector<float> values(n);
        f->round(kTop, adds, scale.data(), offset.data(), x.data(), static_cast<int64_t>(n), codes.data(),
                 values.data());
        EXPECT_EQ(codes, expected_codes) << name_of(f->isa);
        EXPECT_EQ(values, expected_values) << name_of(f->isa);
      }
    }
}

}  // namespace
}  // namespace kerf
