// What the blocks of every GGUF type stand for, against the gguf package and llama.cpp (goldens/gguf/make.py), bit for
// bit, scales that are no numbers included.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>

#include "core/sha256.h"
#include "kernels/gemm.h"
#include "tests/kernels/packed_case.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

struct Golden {
  std::string format, sha256;
  uint32_t id = 0;
  int64_t weights = 0, bytes = 0;
};

std::vector<Golden> goldens() {
  std::ifstream in(test::source_dir() / "tests/kernels/goldens/gguf/dequantized.txt");
  std::vector<Golden> all;
  for (Golden g; in >> g.format >> g.id >> g.weights >> g.bytes >> g.sha256;) all.push_back(g);
  return all;
}

class EveryGgufType : public ::testing::TestWithParam<Golden> {};
INSTANTIATE_TEST_SUITE_P(Kernels, EveryGgufType, ::testing::ValuesIn(goldens()),
                         [](const auto& info) { return info.param.format; });

TEST_P(EveryGgufType, DequantizesAsTheGgufPackageDoes) {
  constexpr int64_t kBlocks = 300;
  const Golden& g = GetParam();
  std::vector<std::byte> codes(static_cast<size_t>(kBlocks * g.bytes));
  uint32_t x = g.id;
  for (std::byte& b : codes) {
    x = 1664525u * x + 1013904223u;
    b = static_cast<std::byte>(x >> 24);
  }
  int kernels = 0;
  for (const PackedGemm* gemm : all_gemms()) {
    if (gemm->format != g.format || gemm->isa > cpu_isa()) continue;
    ++kernels;
    // As single blocks, and as rows of five.
    for (const int64_t blocks : {1, 5}) {
      const PackedMatrix w{
          .rows = kBlocks / blocks, .cols = blocks * g.weights, .codes = codes.data(), .code_stride = blocks * g.bytes};
      std::vector<float> values(static_cast<size_t>(w.rows * w.cols));
      for (int64_t r = 0; r < w.rows; ++r) gemm->dequantize(w, r, values.data() + r * w.cols);
      for (float& v : values)
        if (std::isnan(v)) v = std::numeric_limits<float>::quiet_NaN();
      Sha256 sum;
      sum.update(std::as_bytes(std::span<const float>(values)));
      EXPECT_EQ(sum.finish(), g.sha256) << name_of(gemm->isa) << ", rows of " << blocks << " blocks";
    }
  }
  EXPECT_GE(kernels, 1);
}

TEST(GgufGoldens, AreThereForEveryTypeWithAKernel) {
  std::set<std::string> known;
  for (const Golden& g : goldens()) known.insert(g.format);
  for (const PackedGemm* gemm : all_gemms())
    EXPECT_EQ(test::is_gguf(gemm->format), known.count(std::string(gemm->format)) == 1) << gemm->format;
}

}  // namespace
}  // namespace kerf
