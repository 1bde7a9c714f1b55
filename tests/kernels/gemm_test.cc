// Every kernel against the reference of its format, and every reference against a product in double precision.
#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/kernels/packed_case.h"

namespace kerf {
namespace {

using test::PackedCase;

constexpr int64_t kTokenCounts[] = {1, 2, 3, 5, 16, 37};
constexpr float kUntouched = 12345.0f;

// Any order of sums in which a term goes through at most n roundings errs by at most gamma_n = n u / (1 - n u) times
// the sum of the absolute terms, u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section
// 3.1). PackedCase::roundings is that n. Float formats: cols products and sums. The integer sums of formats with one
// level of scales are below 2^24, so converting them is exact.
double gamma(int64_t n) {
  const double nu = static_cast<double>(n) * 0x1p-24;
  return nu / (1 - nu);
}

const PackedGemm& reference_of(std::string_view format) {
  for (const PackedGemm* gemm : all_gemms())
    if (gemm->format == format && gemm->isa == Isa::ref) return *gemm;
  throw std::runtime_error("no reference kernel for " + std::string(format));
}

std::vector<std::byte> rounded(const PackedGemm& gemm, const PackedMatrix& w, const std::vector<float>& x) {
  const int64_t bytes = gemm.activation_bytes(w), tokens = static_cast<int64_t>(x.size()) / w.cols;
  std::vector<std::byte> out(static_cast<size_t>(bytes * tokens), std::byte{0xee});
  for (int64_t t = 0; t < tokens; ++t) gemm.round_activations(w, x.data() + t * w.cols, out.data() + t * bytes);
  return out;
}

std::vector<float> weights_of(const PackedGemm& gemm, const PackedMatrix& w) {
  std::vector<float> out(static_cast<size_t>(w.rows * w.cols));
  for (int64_t r = 0; r < w.rows; ++r) gemm.dequantize(w, r, out.data() + r * w.cols);
  return out;
}

std::vector<float> values_of(const PackedGemm& gemm, const PackedMatrix& w, const std::vector<std::byte>& activations) {
  const int64_t bytes = gemm.activation_bytes(w), tokens = static_cast<int64_t>(activations.size()) / bytes;
  std::vector<float> out(static_cast<size_t>(tokens * w.cols));
  for (int64_t t = 0; t < tokens; ++t)
    gemm.activation_values(w, activations.data() + t * bytes, out.data() + t * w.cols);
  return out;
}

struct ExactProduct {
  std::vector<double> sum, magnitude, slack;  // [tokens, rows]
  double bound(const PackedCase& c, size_t at) const {
    return gamma(c.roundings) * magnitude[at] + slack[at] + 0x1p-149;  // one more rounding when the result is subnormal
  }
};

// Offsets m of Q4_1 and Q5_1 meet s = F16(d * sum of codes) and not F16(d) times that sum: each F16 is within 2^-11 of
// its number, or within 2^-25 where it is subnormal (there the sum is below 2^12).
double slack_of_offsets(const PackedCase& c, int64_t row, const float* values) {
  double slack = 0;
  const int64_t blocks = c.matrix.cols / 32;
  for (int64_t b = 0; c.offset_at >= 0 && b < blocks; ++b) {
    uint16_t offset;
    std::memcpy(&offset,
                c.matrix.codes + row * c.matrix.code_stride + b * (c.matrix.code_stride / blocks) + c.offset_at, 2);
    double sum = 0;
    for (int64_t k = 0; k < 32; ++k) sum += static_cast<double>(values[b * 32 + k]);
    slack += std::abs(static_cast<double>(f16_to_f32(offset))) * (std::abs(sum) * 0x1.01p-10 + 0x1p-25 * (0x1p12 + 1));
  }
  return slack;
}

// The product, and the sum of the magnitudes of what is added up. Where a weight is code part plus offset and a kernel
// sums both apart, |code part| + |offset| <= |weight| + 2 |offset|; zero points that are taken off the sums of unsigned
// codes by way of the tokens' sums count the same way.
ExactProduct exact_product(const PackedGemm& gemm, const PackedCase& c, const std::vector<float>& values) {
  const PackedMatrix& w = c.matrix;
  const auto weights = weights_of(gemm, w);
  std::vector<float> offsets(weights.size());
  if (!c.offsets.empty()) {
    PackedMatrix zeros = w;
    zeros.codes = c.offsets.data();
    offsets = weights_of(gemm, zeros);
  }
  const int64_t tokens = static_cast<int64_t>(values.size()) / w.cols;
  ExactProduct out;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < w.rows; ++r) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < w.cols; ++k) {
        const auto at = static_cast<size_t>(r * w.cols + k);
        const double value = values[static_cast<size_t>(t * w.cols + k)], weight = weights[at], offset = offsets[at];
        sum += value * weight;
        magnitude += std::abs(value) * (std::abs(weight) + 2 * std::abs(offset));
      }
      out.sum.push_back(sum);
      out.magnitude.push_back(magnitude);
      out.slack.push_back(slack_of_offsets(c, r, values.data() + t * w.cols));
    }
  }
  return out;
}

std::string name_of_gemm(const ::testing::TestParamInfo<const PackedGemm*>& info) {
  std::string name = std::string(info.param->format) + "_" + std::string(name_of(info.param->isa));
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
}

class EveryGemm : public ::testing::TestWithParam<const PackedGemm*> {
 protected:
  void SetUp() override {
    if (gemm().isa > cpu_isa()) GTEST_SKIP() << "this CPU has no " << name_of(gemm().isa);
  }
  const PackedGemm& gemm() const { return *GetParam(); }
  const PackedGemm& reference() const { return reference_of(gemm().format); }
};
INSTANTIATE_TEST_SUITE_P(Kernels, EveryGemm, ::testing::ValuesIn(all_gemms().begin(), all_gemms().end()), name_of_gemm);

TEST_P(EveryGemm, RoundsActivationsToTheBytesOfTheReference) {
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    auto x = c.random_rows(7, 11);
    x[0] = std::numeric_limits<float>::infinity();  // row 0 overflows the scale
    for (int64_t k = 0; k < c.matrix.cols; ++k) {   // row 1: codes that are exactly halfway between two integers
      x[static_cast<size_t>(c.matrix.cols + k)] = k % 32 == 0 ? 127.0f : static_cast<float>(k % 32) + 0.5f;
    }
    const auto expected = rounded(reference(), c.matrix, x), actual = rounded(gemm(), c.matrix, x);
    EXPECT_TRUE(expected == actual) << c.name;
  }
}

TEST_P(EveryGemm, DequantizesToTheBitsOfTheReference) {
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    const auto expected = weights_of(reference(), c.matrix), actual = weights_of(gemm(), c.matrix);
    EXPECT_EQ(std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(float)), 0) << c.name;
  }
}

TEST_P(EveryGemm, IsWithinTheRoundingBoundOfTheExactProduct) {
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    const auto x = c.random_rows(37, 12);
    const auto activations = rounded(gemm(), c.matrix, x);
    const auto exact = exact_product(reference(), c, values_of(reference(), c.matrix, activations));
    const int64_t bytes = gemm().activation_bytes(c.matrix), rows = c.matrix.rows;
    for (int64_t tokens : kTokenCounts) {
      for (int64_t row_begin : {int64_t{0}, rows / 3}) {
        const int64_t row_end = row_begin == 0 ? rows : rows - rows / 4, stride = rows + 3;
        std::vector<float> y(static_cast<size_t>(tokens * stride), kUntouched);
        // The last tokens, so that every count works on other data.
        const int64_t first = 37 - tokens;
        gemm().multiply(c.matrix, row_begin, row_end, activations.data() + first * bytes, tokens, y.data(), stride);
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t i = 0; i < stride; ++i) {
            const float actual = y[static_cast<size_t>(t * stride + i)];
            if (i >= row_end - row_begin) {
              ASSERT_EQ(actual, kUntouched) << c.name << ": wrote past row " << row_end;
              continue;
            }
            const auto at = static_cast<size_t>((first + t) * rows + row_begin + i);
            ASSERT_LE(std::abs(static_cast<double>(actual) - exact.sum[at]), exact.bound(c, at))
                << c.name << ", " << tokens << " tokens, token " << t << ", row " << row_begin + i;
          }
        }
      }
    }
  }
}

// The GGUF formats are defined down to the order of sums (kernels/gguf/q8_gemm_ref.h, q8_k_gemm_ref.h), vLLM's W8A8
// sums integers, for any number of tokens and rows.
TEST_P(EveryGemm, GivesTheBitsOfTheReferenceWhereTheOrderOfSumsIsDefined) {
  if (!test::is_gguf(gemm().format) && gemm().format != "vllm-w8a8") return;
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    const auto x = c.random_rows(37, 15);
    const auto activations = rounded(reference(), c.matrix, x);
    const int64_t bytes = gemm().activation_bytes(c.matrix), rows = c.matrix.rows;
    for (int64_t tokens : kTokenCounts) {
      for (int64_t row_begin : {int64_t{0}, rows / 3}) {
        const int64_t row_end = row_begin == 0 ? rows : rows - rows / 4, n = row_end - row_begin;
        const std::byte* from = activations.data() + (37 - tokens) * bytes;
        std::vector<float> expected(static_cast<size_t>(tokens * n)), actual(expected.size());
        reference().multiply(c.matrix, row_begin, row_end, from, tokens, expected.data(), n);
        gemm().multiply(c.matrix, row_begin, row_end, from, tokens, actual.data(), n);
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(std::bit_cast<uint32_t>(expected[i]), std::bit_cast<uint32_t>(actual[i]))
              << c.name << ", " << tokens << " tokens, output " << i << ": " << expected[i] << " and " << actual[i];
      }
    }
  }
}

// With all scales one every float is an integer below 2^24 (768 x 128 x 128 = 0.75 x 2^24), so that sums are exact in
// any order: a kernel whose integer arithmetic saturates or wraps anywhere differs. Blocks of 256 have scales of their
// parts as large as the codes; their order of sums is defined.
TEST_P(EveryGemm, SumsExtremeCodesExactly) {
  const std::string_view format = gemm().format;
  if (format == "ct-w8a8" || format == "ct-fp8" || format == "vllm-fp8") return;  // sums of fractions
  for (int64_t wanted : {32, 96, 768}) {
    const PackedCase c = test::extreme_case(gemm().format, wanted);
    const int64_t cols = c.matrix.cols;
    for (int64_t tokens : kTokenCounts) {
      std::vector<float> x(static_cast<size_t>(tokens * cols));
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t t = i / static_cast<size_t>(cols);
        x[i] = t % 3 == 0 ? -127.0f : t % 3 == 1 ? 127.0f : static_cast<float>(i % 255) - 127.0f;
        if (i % 32 == 0 && t % 3 == 2) x[i] = 127.0f;
      }
      const auto activations = rounded(gemm(), c.matrix, x);
      std::vector<float> expected(static_cast<size_t>(tokens * c.matrix.rows)), actual(expected.size());
      reference().multiply(c.matrix, 0, c.matrix.rows, activations.data(), tokens, expected.data(), c.matrix.rows);
      gemm().multiply(c.matrix, 0, c.matrix.rows, activations.data(), tokens, actual.data(), c.matrix.rows);
      ASSERT_EQ(expected, actual) << cols << " columns, " << tokens << " tokens";
      if (test::has_two_levels(format)) continue;
      ASSERT_EQ(actual[0], weights_of(reference(), c.matrix)[0] * -127.0f * static_cast<float>(cols));
    }
  }
}

// An activation code of -128 arises only where 127 / amax overflows, with a scale of 0. Give it a scale of 1 to see
// that -128 x -128 is right as well.
TEST_P(EveryGemm, MultipliesTheLowestCodesOfBothSides) {
  if (!test::is_gguf(gemm().format) || test::has_two_levels(gemm().format)) return;  // no such codes
  constexpr int64_t kTokens = 5;
  const PackedCase c = test::extreme_case(gemm().format, 96);
  if (c.offset_at >= 0) return;  // weights with offsets; their codes go through the same products
  const int64_t cols = c.matrix.cols;
  auto activations = rounded(gemm(), c.matrix, std::vector<float>(static_cast<size_t>(cols * kTokens), 1e-40f));
  const int64_t bytes = gemm().activation_bytes(c.matrix);
  const float one = 1.0f;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t b = 0; b < cols / 32; ++b) std::memcpy(activations.data() + t * bytes + cols + b * 4, &one, 4);
  const auto weights = weights_of(reference(), c.matrix);
  for (int64_t tokens : {int64_t{1}, kTokens}) {
    std::vector<float> y(static_cast<size_t>(tokens * c.matrix.rows));
    gemm().multiply(c.matrix, 0, c.matrix.rows, activations.data(), tokens, y.data(), c.matrix.rows);
    for (size_t row : {size_t{0}, size_t{1}})
      EXPECT_EQ(y[row], weights[row * static_cast<size_t>(cols)] * -128.0f * static_cast<float>(cols));
  }
}

TEST_P(EveryGemm, PassesNanAndInfinityOn) {
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    for (int64_t tokens : {1, 16}) {
      for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        auto x = c.random_rows(tokens, 13);
        x[static_cast<size_t>(c.matrix.cols - 1)] = bad;
        const auto activations = rounded(gemm(), c.matrix, x);
        std::vector<float> y(static_cast<size_t>(tokens * c.matrix.rows));
        gemm().multiply(c.matrix, 0, c.matrix.rows, activations.data(), tokens, y.data(), c.matrix.rows);
        for (int64_t i = 0; i < tokens * c.matrix.rows; ++i)
          ASSERT_EQ(std::isfinite(y[static_cast<size_t>(i)]), i >= c.matrix.rows) << c.name << ", output " << i;
      }
    }
  }
}

TEST_P(EveryGemm, TheWholeProductIsBitwiseTheSameForAnyNumberOfThreads) {
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    if (c.matrix.rows != 64) continue;
    for (int64_t tokens : {1, 16, 300}) {  // 300 are more than one panel
      if (tokens == 300 && c.matrix.cols > 300) continue;
      const auto x = c.random_rows(tokens, 14);
      const int64_t row_begin = 5, row_end = 62, stride = 60;
      std::vector<float> first(static_cast<size_t>(tokens * stride), kUntouched), again = first;
      for (int n : {1, 2, 3}) {
        set_threads(n);
        packed_matmul(gemm(), c.matrix, row_begin, row_end, x.data(), tokens, n == 1 ? first.data() : again.data(),
                      stride);
        set_threads(0);
        if (n > 1) {
          ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0)
              << c.name << ", " << tokens << " tokens on " << n << " threads";
        }
      }
      const auto activations = rounded(gemm(), c.matrix, x);
      const auto exact = exact_product(reference(), c, values_of(reference(), c.matrix, activations));
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t r = row_begin; r < row_end; ++r) {
          const auto at = static_cast<size_t>(t * 64 + r);
          ASSERT_LE(
              std::abs(static_cast<double>(first[static_cast<size_t>(t * stride + r - row_begin)]) - exact.sum[at]),
              exact.bound(c, at))
              << c.name << ", token " << t << ", row " << r;
        }
        for (int64_t i = row_end - row_begin; i < stride; ++i)
          ASSERT_EQ(first[static_cast<size_t>(t * stride + i)], kUntouched);
      }
    }
  }
}

// The order of sums may depend on how many tokens there are (kernels/gguf/q8_k_gemm_ref.h), not on how kerf cuts them.
TEST_P(EveryGemm, PanelsOfTokensDoNotShowInTheResult) {
  if (!test::is_gguf(gemm().format)) return;
  for (const PackedCase& c : test::packed_cases(gemm().format)) {
    if (c.matrix.rows != 64 || c.matrix.cols != 256) continue;
    for (const int64_t tokens : {257, 263, 264}) {
      const auto x = c.random_rows(tokens, 16);
      std::vector<float> whole(static_cast<size_t>(tokens * 64)), panels(whole.size());
      gemm().multiply(c.matrix, 0, 64, rounded(gemm(), c.matrix, x).data(), tokens, whole.data(), 64);
      packed_matmul(gemm(), c.matrix, 0, 64, x.data(), tokens, panels.data(), 64);
      EXPECT_EQ(std::memcmp(whole.data(), panels.data(), whole.size() * sizeof(float)), 0) << tokens << " tokens";
    }
  }
}

TEST(FindGemm, TakesTheBestInstructionSetThatIsAllowed) {
  for (const PackedGemm* gemm : all_gemms()) {
    const PackedGemm& found = find_gemm(gemm->format);
    EXPECT_EQ(found.format, gemm->format);
    EXPECT_LE(found.isa, isa());
    if (gemm->isa <= isa()) {
      EXPECT_GE(found.isa, gemm->isa);
    }
  }
}

TEST(FindGemm, NamesTheKnownFormatsWhenThereIsNone) {
  try {
    find_gemm("Q9_9");
    FAIL() << "found a kernel for a format that does not exist";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("Q8_0"), std::string::npos) << e.what();
  }
}

TEST(FindGemmDeathTest, ObeysKerfIsa) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // isa() is read once, so each answer needs a process of its own
  for (Isa wanted : {Isa::ref, Isa::avx2, Isa::avx512}) {
    if (wanted > cpu_isa()) continue;
    EXPECT_EXIT(
        {
          setenv("KERF_ISA", std::string(name_of(wanted)).c_str(), 1);
          std::_Exit(find_gemm("Q8_0").isa == wanted ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
  }
}

TEST(PackedMatmul, RefusesShapesTheFormatCannotHold) {
  const float x = 0;
  float y = 0;
  const PackedMatrix odd{.rows = 1, .cols = 40};
  EXPECT_THROW(packed_matmul(find_gemm("Q8_0"), odd, 0, 1, &x, 1, &y, 1), Error);
  EXPECT_THROW(packed_matmul(find_gemm("Q4_0"), odd, 0, 1, &x, 1, &y, 1), Error);
  EXPECT_THROW(packed_matmul(find_gemm("NVFP4"), PackedMatrix{.rows = 1, .cols = 96}, 0, 1, &x, 1, &y, 1), Error);
  const PackedMatrix uneven{.rows = 1, .cols = 40, .bits = 4, .group = 16};
  EXPECT_THROW(packed_matmul(find_gemm("ct-int4"), uneven, 0, 1, &x, 1, &y, 1), Error);
}

}  // namespace
}  // namespace kerf
