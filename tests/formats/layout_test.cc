// Every layout in the table, on every scheme that it lists. A new layout joins by existing.
#include "formats/layouts/layout.h"

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "formats/ggml_type.h"
#include "grids/grid.h"

namespace kerf {
namespace {

// Random codes and random parameter bytes: what comes back must be these bits, whatever they mean.
QuantizedMatrix random_matrix(const Scheme& s, int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  QuantizedMatrix q = allocate(s, rows, cols);
  const unsigned codes = s.grid == "ternary" ? 3 : 1u << s.bits;
  for (uint8_t& c : q.codes) c = static_cast<uint8_t>(rng() % codes);
  for (size_t i = 0; i < q.params.size(); ++i)
    for (std::byte& b : q.params[i].bytes) {
      const Level& level = s.levels[i];
      const unsigned n = bits_of(level.stored) > 8 ? 256 : 1u << stored_bits(level);
      b = static_cast<std::byte>(level.lowest + rng() % (n - level.lowest) - (level.stored == Dtype::i8 ? n / 2 : 0));
    }
  if (s.codeword > 1) {  // only some combinations exist; finite scales choose among them
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < q.params[0].cols; ++c) q.params[0].set(r, c, static_cast<float>(rng() % 1000) / 1000);
    std::vector<float> w(q.codes.size());
    for (float& x : w) x = static_cast<float>(rng() % 2001) / 4 - 250;
    find_grid(s.grid).encode(w, q);
  }
  return q;
}

std::vector<std::vector<std::byte>> whole(const Layout& layout, const QuantizedMatrix& q) {
  auto packed = layout.pack(q);
  const auto plan = layout.plan(q.scheme, q.rows, q.cols);
  for (size_t i = 0; i < plan.size(); ++i)
    if (plan[i].is_constant()) packed[i] = plan[i].constant;
  return packed;
}

// A width that the layout can hold.
int64_t width(const Layout& layout) { return layout.refuses(layout.examples().front(), 32, 96) ? 768 : 96; }

class EveryLayout : public testing::TestWithParam<const Layout*> {};

TEST_P(EveryLayout, UnpackInvertsPackBitForBit) {
  const Layout& layout = *GetParam();
  int checked = 0;
  for (const Scheme& s : layout.examples())
    for (int64_t rows : {1, 3, 17, 64})
      for (int64_t cols : {1, 4, 7, 12, 32, 36, 96, 288, 1024}) {
        if (layout.refuses(s, rows, cols)) continue;
        const QuantizedMatrix q = random_matrix(s, rows, cols, static_cast<uint32_t>(rows * 1000 + cols));
        const auto bytes = whole(layout, q);
        const auto plan = layout.plan(s, rows, cols);
        ASSERT_EQ(bytes.size(), plan.size());
        std::vector<std::span<const std::byte>> views;
        for (size_t i = 0; i < plan.size(); ++i) {
          EXPECT_EQ(bytes[i].size(), plan[i].bytes) << describe(s) << " " << plan[i].suffix;
          views.emplace_back(bytes[i]);
        }
        EXPECT_EQ(layout.unpack(s, rows, cols, views), q) << describe(s) << " [" << rows << ", " << cols << "]";
        ++checked;
      }
  EXPECT_GT(checked, 0);
}

TEST_P(EveryLayout, PackingRowsApartGivesTheSameBytes) {
  const Layout& layout = *GetParam();
  for (const Scheme& s : layout.examples()) {
    const int64_t rows = 5, cols = width(layout);
    if (layout.packs_whole_matrices(s) || layout.refuses(s, rows, cols)) continue;
    const QuantizedMatrix q = random_matrix(s, rows, cols, 7);
    const auto at_once = layout.pack(q);
    const auto plan = layout.plan(s, rows, cols);
    std::vector<std::vector<std::byte>> apart(plan.size());
    for (int64_t r = 0; r < rows; ++r) {
      QuantizedMatrix row = allocate(s, 1, cols);
      std::copy_n(q.code_row(r).begin(), row.codes.size(), row.codes.begin());
      for (size_t i = 0; i < row.params.size(); ++i) {
        const auto n = static_cast<std::ptrdiff_t>(row.params[i].bytes.size());
        std::copy_n(q.params[i].bytes.begin() + r * n, n, row.params[i].bytes.begin());
      }
      const auto piece = layout.pack(row);
      for (size_t i = 0; i < plan.size(); ++i) {
        EXPECT_EQ(piece[i].size(), plan[i].row_bytes);
        apart[i].insert(apart[i].end(), piece[i].begin(), piece[i].end());
      }
    }
    EXPECT_EQ(apart, at_once) << describe(s);
  }
}

TEST_P(EveryLayout, RefusesBytesOfTheWrongLength) {
  const Layout& layout = *GetParam();
  const Scheme s = layout.examples().front();
  const int64_t cols = width(layout);
  const QuantizedMatrix q = random_matrix(s, 32, cols, 1);
  auto bytes = whole(layout, q);
  bytes[0].pop_back();
  std::vector<std::span<const std::byte>> views(bytes.begin(), bytes.end());
  EXPECT_THROW(layout.unpack(s, 32, cols, views), Error);
  EXPECT_THROW(layout.unpack(s, 32, cols, {}), Error);
}

TEST_P(EveryLayout, RefusesASchemeItCannotHold) {
  Scheme odd = symmetric_int(5, 48, Dtype::f32);
  odd.grid = "no such grid";
  EXPECT_TRUE(GetParam()->refuses(odd, 64, 96));
}

INSTANTIATE_TEST_SUITE_P(All, EveryLayout, testing::ValuesIn(all_layouts().begin(), all_layouts().end()),
                         [](const auto& info) {
                           std::string name(info.param->name());
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

TEST(GgufLayouts, TakeTheBytesOfTheirType) {
  for (const Layout* layout : all_layouts()) {
    if (!layout->name().starts_with("gguf-")) continue;
    const LayoutTensor t = layout->plan(layout->examples().front(), 3, 512).front();
    const int64_t shape[] = {3, 512};
    EXPECT_EQ(t.bytes, ggml_bytes(*find_ggml_type(t.type), shape, t.type)) << layout->name();
  }
}

TEST(GgufLayouts, RefuseARowThatDoesNotDivideIntoBlocks) {
  EXPECT_TRUE(find_layout("gguf-q4_0").refuses(symmetric_int(4, 32, Dtype::f16), 10, 172));
  EXPECT_FALSE(find_layout("gguf-q4_0").refuses(symmetric_int(4, 32, Dtype::f16), 10, 192));
}

TEST(CtFloat, ShapesItsScalesByWhatTheyCover) {
  const Layout& layout = find_layout("ct-float");
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(layout.plan(fp8({0, 0}, Dtype::bf16), 130, 300)[1].shape, Shape({1}));
  EXPECT_EQ(layout.plan(fp8({1, 0}, Dtype::bf16), 130, 300)[1].shape, Shape({130, 1}));
  EXPECT_EQ(layout.plan(fp8({128, 128}, Dtype::bf16), 130, 300)[1].shape, Shape({2, 3}));
  EXPECT_TRUE(layout.refuses(fp8({64, 64}, Dtype::bf16), 130, 300));
  EXPECT_TRUE(layout.refuses(symmetric_int(8, 0, Dtype::bf16), 130, 300));
}

TEST(CtInt, StoresSignedCodes) {
  QuantizedMatrix q = allocate(symmetric_int(8, 0, Dtype::f32), 1, 3);
  q.codes = {0, 128, 255};
  EXPECT_EQ(find_layout("ct-int").pack(q)[0], (std::vector{std::byte{0x80}, std::byte{0}, std::byte{0x7f}}));
  EXPECT_TRUE(find_layout("ct-int").refuses(symmetric_int(8, 32, Dtype::f32), 32, 32));
}

TEST(CtPack, RefusesAGroupThatDoesNotDivide) {
  const auto rule = find_layout("ct-pack").refuses(symmetric_int(4, 128, Dtype::f16), 10, 288);
  ASSERT_TRUE(rule);
  EXPECT_NE(rule->find("128"), std::string::npos);
}

}  // namespace
}  // namespace kerf
