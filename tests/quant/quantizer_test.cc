// Every quantizer in the table.
#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "grids/grid.h"

namespace kerf {
namespace {

std::vector<float> normal(int64_t n) {
  std::mt19937 rng(5);
  std::normal_distribution<float> d(0, 0.05f);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}

TEST(EveryQuantizer, KeepsNumbersThatAreOnTheGrid) {
  const Scheme s = symmetric_int(4, 32, Dtype::f32);
  QuantizedMatrix on_grid = allocate(s, 8, 64);
  std::mt19937 rng(6);
  for (uint8_t& c : on_grid.codes) c = static_cast<uint8_t>(rng() & 15u);
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t g = 0; g < 2; ++g) {
      on_grid.params[0].set(r, g, 0.25f);
      on_grid.codes[static_cast<size_t>(r * 64 + g * 32)] = 0;  // the largest magnitude says what the scale is
    }
  std::vector<float> w(8 * 64), back(8 * 64);
  find_grid("int").decode(on_grid, w);
  for (const Quantizer* q : all_quantizers()) {
    find_grid("int").decode(q->quantize(w, 8, 64, s, nullptr, {}), back);
    for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(back[i], w[i], 1e-6f) << q->name();
  }
}

TEST(EveryQuantizer, GivesTheSameBitsForTheSameWeights) {
  const auto w = normal(16 * 96);
  for (const Quantizer* q : all_quantizers())
    EXPECT_EQ(q->quantize(w, 16, 96, symmetric_int(4, 32, Dtype::bf16), nullptr, {}),
              q->quantize(w, 16, 96, symmetric_int(4, 32, Dtype::bf16), nullptr, {}));
}

TEST(EveryQuantizer, RefusesAGroupThatDoesNotDivide) {
  const auto w = normal(4 * 96);
  for (const Quantizer* q : all_quantizers())
    EXPECT_THROW(q->quantize(w, 4, 96, symmetric_int(4, 64, Dtype::bf16), nullptr, {}), Error);
}

TEST(FindQuantizer, NamesTheMethods) {
  try {
    find_quantizer("magic");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("rtn"), std::string::npos);
  }
}

}  // namespace
}  // namespace kerf
