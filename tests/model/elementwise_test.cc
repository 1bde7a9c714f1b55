#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/cpu.h"
#include "core/dtype.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }

std::vector<float> random_values(size_t n, float scale, uint64_t seed = 0) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i)
    v[i] = scale * static_cast<float>(static_cast<int64_t>(test::splitmix64(seed + i) >> 40) - (1 << 23)) / (1 << 23);
  return v;
}

TEST(Elementwise, ExpIsWithinTwoUlp) {
  std::vector<float> x, y;
  for (int i = 0; i < 2000000; ++i) x.push_back(-87.33F + 175.35F * static_cast<float>(i) / 2000000);
  y.resize(x.size());
  elementwise().exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - exact) / ulp);
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LE(worst, 2);
}

TEST(Elementwise, ExpAtTheEnds) {
  const std::vector<float> x = {0, -0.0F, -INFINITY, -88, -1000, 1000, NAN, 1};
  std::vector<float> y(x.size());
  elementwise().exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 0);
  EXPECT_EQ(y[3], 0);
  EXPECT_EQ(y[4], 0);
  EXPECT_GT(y[5], 1e38F);
  EXPECT_TRUE(std::isfinite(y[5]));
  EXPECT_TRUE(std::isnan(y[6]));
  EXPECT_NEAR(y[7], 2.7182818, 3e-7);
}

TEST(Elementwise, RoundsAsCoreDoes) {
  // Every code of both types with its neighbours in float32 and the midpoint to the next, both signs; then a sweep.
  std::vector<float> x;
  for (uint32_t code = 0; code < 0x10000; ++code)
    for (float v : {f16_to_f32(static_cast<uint16_t>(code)), bf16_to_f32(static_cast<uint16_t>(code))})
      for (uint32_t step : {0U, 0x1000U, 0x8000U, 0x0fffU, 0x1001U, 0x7fffU, 0x8001U})
        x.push_back(from_bits(std::bit_cast<uint32_t>(v) + step));
  for (uint64_t i = 0; i < 2000000; ++i) x.push_back(from_bits(static_cast<uint32_t>(test::splitmix64(i))));
  for (float v : {0.0F, 65504.0F, 65519.996F, 65520.0F, 65536.0F, 1e30F, 6.1e-5F, 5.96e-8F, 2.98e-8F, 2.99e-8F, 1e-30F,
                  std::numeric_limits<float>::max(), INFINITY, 3.3895314e38F, 3.4e38F})
    for (float s : {1.0F, -1.0F}) x.push_back(s * v);
  for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    std::vector<float> y = x;
    elementwise().round(y.data(), static_cast<int64_t>(y.size()), rounding_of(dtype));
    size_t wrong = 0;
    for (size_t i = 0; i < x.size() && wrong < 5; ++i) {
      const float expected = round_to(dtype, x[i]);
      if (std::isnan(expected) ? std::isnan(y[i]) : std::bit_cast<uint32_t>(expected) == std::bit_cast<uint32_t>(y[i]))
        continue;
      ++wrong;
      ADD_FAILURE() << name_of(dtype) << ": " << x[i] << " gives " << y[i] << ", not " << expected;
    }
  }
}

TEST(Elementwise, SoftmaxIsThatOfDoubles) {
  for (int64_t n : {1, 2, 15, 16, 17, 33, 255, 1000}) {
    std::vector<float> row = random_values(static_cast<size_t>(n) + 5, 30);
    const std::vector<float> x = row;
    const float scale = 0.37F;
    EXPECT_EQ(elementwise().softmax(row.data(), n, n + 5, scale, false, Rounding::none), 1);
    double most = -1e300, sum = 0;
    for (int64_t i = 0; i < n; ++i) most = std::max(most, static_cast<double>(x[static_cast<size_t>(i)]));
    const auto e = [&](int64_t i) {
      return std::exp(static_cast<double>(scale) * (static_cast<double>(x[static_cast<size_t>(i)]) - most));
    };
    for (int64_t i = 0; i < n; ++i) sum += e(i);
    // The argument of e^ is rounded twice at up to 2 x 30 x 0.37: 22 x 2^-23 in the result.
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(row[static_cast<size_t>(i)], e(i) / sum, e(i) / sum * 4e-6);
    for (int64_t i = n; i < n + 5; ++i) EXPECT_EQ(row[static_cast<size_t>(i)], 0);
    std::vector<float> fused = x;
    const float factor = elementwise().softmax(fused.data(), n, n + 5, scale, true, Rounding::none);
    for (int64_t i = 0; i < n; ++i)
      EXPECT_NEAR(fused[static_cast<size_t>(i)] * factor, row[static_cast<size_t>(i)],
                  row[static_cast<size_t>(i)] * 1e-6);
  }
}

TEST(Elementwise, SiluIsWithinFourUlp) {
  std::vector<float> gate = random_values(100000, 80), out(gate.size());
  const std::vector<float> ones(gate.size(), 1.0F);
  elementwise().silu_gate(gate.data(), ones.data(), out.data(), static_cast<int64_t>(gate.size()), Rounding::none);
  for (size_t i = 0; i < gate.size(); ++i) {
    const auto g = static_cast<double>(gate[i]);
    const double exact = g / (1 + std::exp(-g));
    EXPECT_LE(std::fabs(static_cast<double>(out[i]) - exact), 4 * std::ldexp(1.0, std::ilogb(exact) - 23)) << g;
  }
}

TEST(Elementwise, MaxFindsNan) {
  for (size_t n : {1U, 5U, 16U, 40U}) {
    std::vector<float> x = random_values(n, 5);
    EXPECT_EQ(elementwise().max(x.data(), static_cast<int64_t>(n)), *std::max_element(x.begin(), x.end()));
    x[n - 1] = NAN;
    EXPECT_TRUE(std::isnan(elementwise().max(x.data(), static_cast<int64_t>(n))));
  }
}

/// All results of one table on rows of n values, as bits.
std::vector<uint32_t> results(const Elementwise& ops, int64_t n) {
  std::vector<float> all;
  const std::vector<float> a = random_values(static_cast<size_t>(n), 20, 1),
                           b = random_values(static_cast<size_t>(n), 3, 2);
  const auto keep = [&](const std::vector<float>& v) { all.insert(all.end(), v.begin(), v.end()); };
  const auto keep_double = [&](double d) {
    float parts[2];
    std::memcpy(parts, &d, sizeof parts);
    all.insert(all.end(), parts, parts + 2);
  };
  for (Rounding r : {Rounding::none, Rounding::f16, Rounding::bf16}) {
    std::vector<float> x = a;
    ops.round(x.data(), n, r);
    keep(x);
    ops.add(x.data(), b.data(), n, r);
    keep(x);
    ops.rms_norm(a.data(), b.data(), x.data(), n, 1e-5F, r);
    keep(x);
    ops.silu_gate(a.data(), b.data(), x.data(), n, r);
    keep(x);
    x = a;
    ops.softmax(x.data(), n, n, 0.7F, false, r);
    keep(x);
    x = a;
    all.push_back(ops.softmax(x.data(), n, n, 0.7F, true, r));
    keep(x);
    const int64_t half = n / 2;
    x = a;
    ops.rotate(x.data(), 1, half, b.data(), b.data() + half, r);
    keep(x);
  }
  std::vector<float> x(a.size());
  ops.exp(a.data(), x.data(), n);
  keep(x);
  ops.exp_difference(a.data(), 19, b.data(), 3, n, 0.3F, x.data());
  keep(x);
  all.push_back(ops.max(a.data(), n));
  keep_double(ops.sum_exp(a.data(), n, 20));
  keep_double(ops.sum_exp_difference(a.data(), b.data(), n, 20));
  std::vector<uint32_t> bits(all.size());
  std::memcpy(bits.data(), all.data(), bits.size() * sizeof(uint32_t));
  return bits;
}

TEST(Elementwise, EveryInstructionSetGivesTheSameBits) {
#if defined(__x86_64__)
  for (int64_t n : {1, 2, 15, 16, 17, 31, 64, 100, 256, 257, 1000}) {
    if (cpu_isa() >= Isa::avx2) {
      EXPECT_EQ(results(elementwise_ref(), n), results(elementwise_avx2(), n)) << "avx2, " << n;
    }
    if (cpu_isa() >= Isa::avx512) {
      EXPECT_EQ(results(elementwise_ref(), n), results(elementwise_avx512(), n)) << "avx512, " << n;
    }
  }
  if (cpu_isa() == Isa::ref) GTEST_SKIP() << "this CPU has neither AVX2 nor AVX-512";
#else
  GTEST_SKIP() << "one instruction set on this processor";
#endif
}

}  // namespace
}  // namespace kerf
