// The grids of IQ2 and IQ3: only what is in the codebook, and the best of it.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "core/error.h"
#include "grids/codebook.h"
#include "grids/grid.h"
#include "grids/wordfitter.h"
#include "tests/grids/quantized.h"

namespace kerf {
namespace {

struct Type {
  Scheme scheme;
  double bits;
};
std::vector<Type> types() {
  return {{codebook_words("iq2_xxs", 3, 8, 15, 32), 2.0625},
          {codebook_words("iq2_xs", 3, 8, 16, 16), 2.3125},
          {codebook_words("iq2_s", 3, 8, 18, 16), 2.5625},
          {codebook_words("iq3_xxs", 4, 8, 23, 32), 3.0625},
          {codebook_words("iq3_s", 4, 4, 13, 32), 3.4375}};
}

constexpr int64_t kRows = 3, kCols = 512;

std::vector<float> normal(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> d(0, 0.03f);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}
std::vector<float> importances(int64_t n) {
  std::vector<float> v = normal(n, 9);
  for (float& x : v) x = x * x + 1e-5f;
  return v;
}

QuantizedMatrix quantized(const Scheme& s, std::span<const float> w, std::span<const float> importance = {}) {
  return test::quantized(s, w, kRows, kCols, importance);
}
using test::squared_error;

TEST(CodebookGrids, SchemesTakeTheBitsThatGgufSays) {
  for (const Type& t : types()) {
    EXPECT_EQ(bits_per_weight(t.scheme, kRows, kCols), t.bits) << t.scheme.grid;
    EXPECT_THROW(find_grid(t.scheme.grid).check(codebook_words(t.scheme.grid, 3, 8, 15, 64)), Error);
  }
}

TEST(CodebookGrids, WriteOnlyWhatTheCodebookAndItsSignsHold) {
  const auto w = normal(kRows * kCols, 1), v = importances(kCols);
  for (const Type& t : types()) {
    const Codebook& book = codebook(t.scheme.grid);
    const QuantizedMatrix q = quantized(t.scheme, w, v);
    std::vector<float> back(w.size());
    find_grid(t.scheme.grid).decode(q, back);
    int odd = 0;
    for (size_t i = 0; i < w.size(); i += 8) {
      for (size_t k = i; k < i + 8; k += static_cast<size_t>(book.weights))
        EXPECT_NO_THROW(book.entry_of(q.codes.data() + k)) << t.scheme.grid;
      int negative = 0;
      for (size_t k = i; k < i + 8; ++k) negative += (q.codes[k] & book.negative) != 0;
      odd += negative % 2;
    }
    EXPECT_EQ(odd > 0, !book.even) << t.scheme.grid;
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const Effective e = find_grid(t.scheme.grid).effective(q, i / kCols, i % kCols);
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(find_grid(t.scheme.grid).value(t.scheme, e, q.codes[at]), back[at]) << t.scheme.grid;
    }
  }
}

// Against every entry with every allowed choice of signs. Where an even number must be negative the search takes one of
// the eight weights before it knows the entry, and misses the best one now and then.
TEST(CodebookGrids, EncodingFindsTheBestEntryOfAll) {
  const auto w = normal(kRows * kCols, 2), v = importances(kCols);
  for (const Type& t : types()) {
    const Codebook& book = codebook(t.scheme.grid);
    const Grid& grid = find_grid(t.scheme.grid);
    const QuantizedMatrix q = quantized(t.scheme, w, v);
    double found = 0, best = 0;
    for (int64_t i = 0; i < kCols; i += 8) {
      const double scale = static_cast<double>(grid.effective(q, 0, i).scale);
      std::vector<float> back(w.size());
      double least = 1e30;
      const auto cost = [&](int64_t k, double value) {
        const double d = static_cast<double>(w[static_cast<size_t>(k)]) - value;
        return static_cast<double>(v[static_cast<size_t>(k)]) * d * d;
      };
      for (int64_t k = i; k < i + 8; ++k)
        found += cost(
            k, static_cast<double>(grid.value(t.scheme, grid.effective(q, 0, k), q.codes[static_cast<size_t>(k)])));
      // For each choice of signs the entries of both parts are independent.
      for (unsigned signs = 0; signs < 256; ++signs) {
        if (book.even && std::popcount(signs) % 2) continue;
        double sum = 0;
        for (int64_t part = i; part < i + 8; part += book.weights) {
          double lowest = 1e30;
          for (int e = 0; e < book.entries; ++e) {
            double one = 0;
            for (int j = 0; j < book.weights; ++j) {
              const double g =
                  static_cast<double>(book.magnitude[book.rank[static_cast<size_t>(e * book.weights + j)]]);
              one += cost(part + j, (signs >> (part - i + j) & 1 ? -scale : scale) * g);
            }
            lowest = std::min(lowest, one);
          }
          sum += lowest;
        }
        least = std::min(least, sum);
      }
      best += least;
    }
    EXPECT_LE(found, best * (book.even ? 1.03 : 1.0001)) << t.scheme.grid;
  }
}

TEST(CodebookGrids, ProjectedParametersCanBeSetAndReadBack) {
  const auto w = normal(kRows * kCols, 3);
  for (const Type& t : types()) {
    QuantizedMatrix q = quantized(t.scheme, w, {});
    const Grid& grid = find_grid(t.scheme.grid);
    for (int64_t c = 0; c < kCols; c += own_block(t.scheme, kCols)) {
      const Effective stored = grid.effective(q, 1, c);
      EXPECT_EQ(grid.project(q, 1, c, stored).scale, stored.scale) << t.scheme.grid;
      const Effective p = grid.project(q, 1, c, {stored.scale * 0.7f, 0});
      grid.set(q, 1, c, p);
      EXPECT_EQ(grid.effective(q, 1, c).scale, p.scale) << t.scheme.grid;
    }
  }
}

TEST(CodebookGrids, ImportanceMovesTheErrorToUnimportantColumns) {
  const auto w = normal(kRows * kCols, 4), v = importances(kCols);
  for (const Type& t : types())
    EXPECT_LT(squared_error(w, quantized(t.scheme, w, v), v), 0.9 * squared_error(w, quantized(t.scheme, w, {}), v))
        << t.scheme.grid;
}

TEST(CodebookGrids, ZeroTinyAndHugeBlocksAreFiniteOrRefused) {
  for (const Type& t : types()) {
    for (float value : {0.0f, -0.0f, 1e-30f, 1.0f}) {
      std::vector<float> back(kRows * kCols);
      find_grid(t.scheme.grid).decode(quantized(t.scheme, std::vector<float>(kRows * kCols, value), {}), back);
      for (const float x : back) EXPECT_LE(std::abs(x), 2 * value + 0x1p-10f) << t.scheme.grid;
    }
    for (float value : {1e9f, 1e30f})
      EXPECT_THROW(quantized(t.scheme, std::vector<float>(kRows * kCols, value), {}), Error) << t.scheme.grid;
  }
}

TEST(WordFitters, AgreeOnEveryInstructionSet) {
  const WordFitter* reference = nullptr;
  for (const WordFitter* f : all_wordfitters())
    if (f->isa == Isa::ref) reference = f;
  ASSERT_TRUE(reference);
  for (const Type& t : types()) {
    const Codebook& book = codebook(t.scheme.grid);
    const int words = 64;
    alignas(64) float w[512], v[512], scale[64];
    const auto x = normal(512, 5), y = importances(512);
    std::copy(x.begin(), x.end(), w);
    std::copy(y.begin(), y.end(), v);
    for (int i = 0; i < words; ++i) scale[i] = 0.03f / book.magnitude.back() * (1 + static_cast<float>(i) / 32);
    const auto run = [&](const WordFitter& f) {
      alignas(64) int32_t entry[64];
      f.choose({book, words, w, v, scale}, entry);
      return std::vector<int32_t>(entry, entry + words);
    };
    const auto expected = run(*reference);
    for (const WordFitter* f : all_wordfitters())
      if (f->isa <= cpu_isa()) {
        EXPECT_EQ(run(*f), expected) << name_of(f->isa) << " " << t.scheme.grid;
      }
  }
}

}  // namespace
}  // namespace kerf
