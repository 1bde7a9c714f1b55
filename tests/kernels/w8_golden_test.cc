// The rules for 8-bit activations against what the compressed-tensors package gives (goldens/w8/make.py), bit for bit,
// and the differences between its rule and vLLM's.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "kernels/gemm.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

std::vector<float> read_floats(std::istream& in) {
  std::string line;
  std::getline(in, line);
  std::istringstream words(line);
  std::vector<float> values;
  for (uint32_t bits; words >> std::hex >> bits;) values.push_back(std::bit_cast<float>(bits));
  return values;
}

std::vector<std::byte> read_bytes(std::istream& in) {
  std::string line;
  std::getline(in, line);
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < line.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(line.substr(i, 2), nullptr, 16)));
  return bytes;
}

struct Header {
  std::string what, format, dtype, last;
  int64_t rows = 0, cols = 0;
};

// visit(header, stream) for every case of the file; it reads the lines of its own.
template <class Visit>
int for_each_case(const Visit& visit) {
  std::ifstream in(test::source_dir() / "tests/kernels/goldens/w8/package.txt");
  int cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    Header h;
    std::istringstream(line) >> h.what >> h.format >> h.dtype >> h.rows >> h.cols >> h.last;
    visit(h, in);
  }
  return cases;
}

std::vector<const PackedGemm*> gemms_of(std::string_view format) {
  std::vector<const PackedGemm*> all;
  for (const PackedGemm* g : all_gemms())
    if (g->format == format && g->isa <= cpu_isa()) all.push_back(g);
  return all;
}

// Zeros of either sign are one number: the package adds a zero point of 0, which makes -0 into 0.
::testing::AssertionResult same(const std::vector<float>& mine, const std::vector<float>& theirs) {
  if (mine.size() != theirs.size()) return ::testing::AssertionFailure() << mine.size() << " and " << theirs.size();
  for (size_t i = 0; i < mine.size(); ++i)
    if (!(mine[i] == theirs[i])) return ::testing::AssertionFailure() << i << ": " << mine[i] << " and " << theirs[i];
  return ::testing::AssertionSuccess();
}

std::vector<float> rounded(const PackedGemm& g, const PackedMatrix& w, const std::vector<float>& x) {
  std::vector<float> out(x.size());
  std::vector<std::byte> row(static_cast<size_t>(g.activation_bytes(w)));
  for (size_t t = 0; t < x.size(); t += static_cast<size_t>(w.cols)) {
    g.round_activations(w, x.data() + t, row.data());
    g.activation_values(w, row.data(), out.data() + t);
  }
  return out;
}

TEST(PackageRule, RoundsActivationsToThePackagesOwnBits) {
  int checked = 0;
  for_each_case([&](const Header& h, std::istream& in) {
    const bool activations = h.what == "activations";
    std::vector<std::byte> codes;
    if (!activations) codes = read_bytes(in);
    const std::vector<float> first = read_floats(in), expected = read_floats(in);
    if (!activations) return;
    const PackedMatrix w{.rows = 1,
                         .cols = h.cols,
                         .bits = 8,
                         .group = h.cols,
                         .compute = *dtype_from_name(h.dtype),
                         .activation_group = std::stoll(h.last)};
    for (const PackedGemm* g : gemms_of(h.format)) {
      EXPECT_TRUE(same(rounded(*g, w, first), expected)) << h.format << " " << h.dtype << " " << name_of(g->isa);
      ++checked;
    }
  });
  EXPECT_GT(checked, 8);
}

TEST(PackageRule, DequantizesWeightsToThePackagesOwnBits) {
  int checked = 0;
  for_each_case([&](const Header& h, std::istream& in) {
    const bool weights = h.what == "weights";
    std::vector<std::byte> codes;
    if (weights) codes = read_bytes(in);
    const std::vector<float> scales = read_floats(in), expected = read_floats(in);
    if (!weights) return;
    const Dtype dtype = *dtype_from_name(h.dtype);
    std::vector<std::byte> stored(static_cast<size_t>(bytes_of(dtype, static_cast<int64_t>(scales.size()))));
    from_f32(dtype, scales, stored);
    const bool block = h.last == "block";
    const PackedMatrix w{.rows = h.rows,
                         .cols = h.cols,
                         .codes = codes.data(),
                         .code_stride = h.cols,
                         .scales = stored.data(),
                         .scale_stride = (block ? 2 : 1) * bits_of(dtype) / 8,
                         .scale_dtype = dtype,
                         .bits = 8,
                         .group = block ? 128 : h.cols,
                         .compute = dtype,
                         .scale_rows = h.last == "channel" ? 1 : 128,
                         .activation_group = h.cols};
    for (const PackedGemm* g : gemms_of(h.format)) {
      std::vector<float> out(codes.size());
      for (int64_t r = 0; r < h.rows; ++r) g->dequantize(w, r, out.data() + r * h.cols);
      EXPECT_TRUE(same(out, expected)) << h.format << " " << h.dtype << " " << h.last << " " << name_of(g->isa);
      ++checked;
    }
  });
  EXPECT_GT(checked, 8);
}

// As transformers 5.23 loads them: measured with a bfloat16 model whose scales were stored as F32.
TEST(PackageRule, RoundsScalesToTheModelsTypeFirst) {
  const float scale = 0.0123456f;
  const std::byte code{127};
  PackedMatrix w{.rows = 1,
                 .cols = 1,
                 .codes = &code,
                 .code_stride = 1,
                 .scales = reinterpret_cast<const std::byte*>(&scale),
                 .scale_stride = 4,
                 .bits = 8,
                 .group = 1,
                 .compute = Dtype::bf16,
                 .activation_group = 1};
  const float twice = round_to(Dtype::bf16, 127 * round_to(Dtype::bf16, scale));
  ASSERT_NE(twice, round_to(Dtype::bf16, 127 * scale)) << "the example must tell the two apart";
  for (const char* format : {"ct-w8a8", "vllm-w8a8"})
    for (const PackedGemm* g : gemms_of(format)) {
      float out;
      g->dequantize(w, 0, &out);
      EXPECT_EQ(out, g->format == "ct-w8a8" ? twice : 127 * scale) << g->format << " " << name_of(g->isa);
    }
}

// absmax / 127 for the largest value to be a code, against absmax / 127.5 for it to saturate.
TEST(VllmRule, DiffersFromThePackagesByItsScale) {
  const PackedMatrix w{.rows = 1, .cols = 4, .bits = 8, .group = 4, .compute = Dtype::f32, .activation_group = 4};
  const std::vector<float> x = {127, -63, 0.4f, -127};
  for (const PackedGemm* g : gemms_of("vllm-w8a8"))
    EXPECT_TRUE(same(rounded(*g, w, x), {127, -63, 0, -127})) << name_of(g->isa);
  const float s = 127 / 127.5f;
  for (const PackedGemm* g : gemms_of("ct-w8a8"))
    EXPECT_TRUE(same(rounded(*g, w, x), {127 * s, -63 * s, 0, -128 * s})) << name_of(g->isa);
}

TEST(VllmRule, HasASmallestScaleForFloats) {
  PackedMatrix w{.rows = 1, .cols = 4, .bits = 8, .group = 4, .compute = Dtype::f32, .activation_group = 4};
  const float tiny = 0x1p-9f / (448 * 512);  // a quarter of a step of subnormals at the smallest scale is lost
  for (const PackedGemm* g : gemms_of("vllm-fp8")) {
    EXPECT_TRUE(same(rounded(*g, w, {tiny, tiny / 4, 0, 0}), {tiny, 0, 0, 0})) << name_of(g->isa);
    EXPECT_TRUE(same(rounded(*g, w, {448, 17.9f, 0, -448}), {448, 18, 0, -448})) << name_of(g->isa);
  }
}

TEST(EightBitActivations, AreRefusedInGroupsThatDoNotDivide) {
  const PackedMatrix w{.rows = 1, .cols = 40, .bits = 8, .group = 40, .activation_group = 16};
  for (const char* format : {"ct-w8a8", "ct-fp8", "vllm-w8a8", "vllm-fp8"})
    EXPECT_THROW(find_gemm(format).activation_bytes(w), Error) << format;
  const PackedMatrix blocks{.rows = 1, .cols = 40, .bits = 8, .group = 20, .activation_group = 40};
  EXPECT_THROW(find_gemm("vllm-w8a8").activation_bytes(blocks), Error);
  const PackedMatrix wide{.rows = 1, .cols = 131073, .bits = 8, .group = 131073, .activation_group = 131073};
  EXPECT_THROW(find_gemm("vllm-w8a8").activation_bytes(wide), Error);
}

}  // namespace
}  // namespace kerf
