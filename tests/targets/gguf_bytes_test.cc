// The two sides of every GGUF type that is written share no code: what the grid says that the packed bytes mean is what
// the kernels, which follow llama.cpp, read from them.
#include <gtest/gtest.h>

#include <random>

#include "formats/layouts/layout.h"
#include "grids/grid.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

std::vector<float> weights(int64_t n, float sigma) {
  std::mt19937 rng(11);
  std::normal_distribution<float> d(0, sigma);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& x : w) x = d(rng);
  return w;
}

TEST(GgufBytes, MeanTheSameToTheGridAndToTheKernels) {
  constexpr int64_t kRows = 9, kCols = 512;
  int types = 0;
  for (const Layout* layout : all_layouts()) {
    if (!layout->name().starts_with("gguf-")) continue;
    ++types;
    const Scheme scheme = layout->examples().front();
    const Grid& grid = find_grid(scheme.grid);
    // Also numbers whose scales are subnormal half floats, and zeros.
    for (const float sigma : {0.05f, 1e-6f, 0.0f}) {
      const std::vector<float> w = weights(kRows * kCols, sigma);
      QuantizedMatrix q = allocate(scheme, kRows, kCols);
      grid.fit(w, {}, q);
      grid.encode(w, q);
      std::vector<float> said(w.size()), read(w.size());
      grid.decode(q, said);
      const std::vector<LayoutTensor> plan = layout->plan(scheme, kRows, kCols);
      const std::vector<std::vector<std::byte>> bytes = layout->pack(q);
      const PackedGemm& kernel = find_gemm(plan[0].type);
      const PackedMatrix packed{.rows = kRows,
                                .cols = kCols,
                                .codes = bytes[0].data(),
                                .code_stride = static_cast<int64_t>(plan[0].row_bytes)};
      for (int64_t r = 0; r < kRows; ++r) kernel.dequantize(packed, r, read.data() + r * kCols);
      for (size_t i = 0; i < w.size(); ++i) ASSERT_EQ(said[i], read[i]) << layout->name() << " " << sigma << " " << i;
    }
  }
  EXPECT_GE(types, 20);
}

}  // namespace
}  // namespace kerf
