// Every code of every small format, and every midpoint between neighbouring values, against the definition.
#include "core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "core/converter.h"
#include "core/error.h"

namespace kerf {
namespace {

struct Format {
  const char* name;
  uint32_t codes;                         // how many
  std::function<float(uint32_t)> decode;  // code -> value
  std::function<uint32_t(float)> encode;  // value -> code
  uint32_t largest;                       // code of the largest finite positive value
  bool overflows_to_infinity;
};

std::vector<Format> formats() {
  return {
      {"F16", 1u << 16, [](uint32_t c) { return f16_to_f32(static_cast<uint16_t>(c)); },
       [](float x) { return uint32_t{f32_to_f16(x)}; }, 0x7bff, true},
      {"BF16", 1u << 16, [](uint32_t c) { return bf16_to_f32(static_cast<uint16_t>(c)); },
       [](float x) { return uint32_t{f32_to_bf16(x)}; }, 0x7f7f, true},
      {"F8_E4M3", 256, [](uint32_t c) { return f8_e4m3_to_f32(static_cast<uint8_t>(c)); },
       [](float x) { return uint32_t{f32_to_f8_e4m3(x)}; }, 0x7e, false},
      {"F8_E5M2", 256, [](uint32_t c) { return f8_e5m2_to_f32(static_cast<uint8_t>(c)); },
       [](float x) { return uint32_t{f32_to_f8_e5m2(x)}; }, 0x7b, false},
      {"F4_E2M1", 16, [](uint32_t c) { return f4_e2m1_to_f32(static_cast<uint8_t>(c)); },
       [](float x) { return uint32_t{f32_to_f4_e2m1(x)}; }, 0x7, false},
  };
}

TEST(SmallFloats, DecodingThenEncodingIsTheIdentityForEveryCode) {
  for (const Format& f : formats()) {
    for (uint32_t c = 0; c < f.codes; ++c) {
      const float v = f.decode(c);
      if (std::isnan(v)) {
        EXPECT_TRUE(std::isnan(f.decode(f.encode(v)))) << f.name << " code " << c;
      } else if (std::isinf(v) && !f.overflows_to_infinity) {
        EXPECT_EQ(f.encode(v) & (f.codes / 2 - 1), f.largest) << f.name;
      } else {
        EXPECT_EQ(f.encode(v), c) << f.name << " value " << v;
      }
    }
  }
}

TEST(SmallFloats, MidpointsRoundToEvenAndTheirNeighboursToTheNearest) {
  for (const Format& f : formats()) {
    const uint32_t sign = f.codes / 2;
    for (uint32_t c = 0; c < f.largest; ++c) {
      const double low = f.decode(c), high = f.decode(c + 1);
      ASSERT_LT(low, high) << f.name << " codes must increase, at " << c;
      const double middle = (low + high) / 2;
      const float mid = static_cast<float>(middle);
      if (static_cast<double>(mid) != middle) continue;  // float32 cannot express it (BF16 subnormals)
      const float below = std::nextafter(mid, -INFINITY), above = std::nextafter(mid, INFINITY);
      const uint32_t even = c % 2 == 0 ? c : c + 1;
      EXPECT_EQ(f.encode(mid), even) << f.name << " between codes " << c << " and " << c + 1;
      EXPECT_EQ(f.encode(-mid), even | sign) << f.name;
      EXPECT_EQ(f.encode(below), c) << f.name;
      EXPECT_EQ(f.encode(above), c + 1) << f.name;
    }
  }
}

TEST(SmallFloats, OverflowFollowsEachSpecification) {
  for (const Format& f : formats()) {
    const float top = f.decode(f.largest);
    const float step = top - f.decode(f.largest - 1);
    const uint32_t past = f.overflows_to_infinity ? f.largest + 1 : f.largest;
    const float half_over = static_cast<float>(static_cast<double>(top) + static_cast<double>(step) / 2);
    EXPECT_EQ(f.encode(std::nextafter(half_over, 0.0f)), f.largest) << f.name;
    EXPECT_EQ(f.encode(half_over), past) << f.name;
    EXPECT_EQ(f.encode(std::numeric_limits<float>::max()), past) << f.name;
    EXPECT_EQ(f.encode(INFINITY), past) << f.name;
    EXPECT_EQ(f.encode(-INFINITY), past | (f.codes / 2)) << f.name;
  }
}

TEST(SmallFloats, ZerosKeepTheirSign) {
  for (const Format& f : formats()) {
    EXPECT_EQ(f.encode(0.0f), 0u) << f.name;
    EXPECT_EQ(f.encode(-0.0f), f.codes / 2) << f.name;
  }
}

TEST(E8m0, EncodesPowersOfTwoAndRoundsBetweenThem) {
  for (int c = 0; c < 255; ++c) {
    const float v = e8m0_to_f32(static_cast<uint8_t>(c));
    EXPECT_EQ(f32_to_e8m0(v), c);
    if (c == 254) continue;
    const float mid = v * 1.5f;
    EXPECT_EQ(f32_to_e8m0(mid), c % 2 == 0 ? c : c + 1) << c;
    EXPECT_EQ(f32_to_e8m0(std::nextafter(mid, 0.0f)), c);
    EXPECT_EQ(f32_to_e8m0(std::nextafter(mid, INFINITY)), c + 1);
  }
  EXPECT_EQ(f32_to_e8m0(0.0f), 0);
  EXPECT_EQ(f32_to_e8m0(0x1p-149f), 0);
  EXPECT_EQ(f32_to_e8m0(std::numeric_limits<float>::max()), 254);
  EXPECT_EQ(f32_to_e8m0(std::numeric_limits<float>::quiet_NaN()), 255);
  EXPECT_TRUE(std::isnan(e8m0_to_f32(255)));
}

TEST(F4, RefusesNan) { EXPECT_THROW(f32_to_f4_e2m1(NAN), Error); }

TEST(F16, KnownValues) {
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x7bff), 65504.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f8_e5m2_to_f32(0x7b), 57344.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x01), 0x1p-9f);
}

TEST(Dtype, NamesAreTheSafetensorsOnesAndRoundTrip) {
  for (int i = 0; i <= static_cast<int>(Dtype::f8_e5m2fnuz); ++i) {
    const Dtype t = static_cast<Dtype>(i);
    EXPECT_EQ(dtype_from_name(name_of(t)), t);
  }
  EXPECT_EQ(bits_of(Dtype::f4_e2m1), 4);
  EXPECT_EQ(bytes_of(Dtype::f6_e2m3, 3), 3);
  EXPECT_EQ(bytes_of(Dtype::f64, 3), 24);
  EXPECT_EQ(dtype_from_torch_name("torch.bfloat16"), Dtype::bf16);
  EXPECT_FALSE(dtype_from_name("bf16"));
  EXPECT_THROW(bytes_of(Dtype::f64, int64_t{1} << 60), Error);
}

// Each code, each number whose lower half decides a rounding, and every length of a remainder.
TEST(Converters, GiveWhatTheScalarFunctionsGiveOnEveryInstructionSet) {
  std::vector<uint16_t> codes(1 << 16);
  std::iota(codes.begin(), codes.end(), uint16_t{0});
  std::vector<float> numbers;
  for (uint32_t high = 0; high < 1 << 16; ++high)
    for (uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x2000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      numbers.push_back(std::bit_cast<float>(high << 16 | low));
  const auto same = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); };
  for (const Converter* c : all_converters()) {
    if (c->isa > cpu_isa()) continue;
    std::vector<float> wide(codes.size());
    c->f16_to_f32(codes.data(), wide.data(), std::ssize(codes));
    for (size_t i = 0; i < codes.size(); ++i) ASSERT_TRUE(same(wide[i], f16_to_f32(codes[i]))) << i;
    c->bf16_to_f32(codes.data(), wide.data(), std::ssize(codes));
    for (size_t i = 0; i < codes.size(); ++i) ASSERT_TRUE(same(wide[i], bf16_to_f32(codes[i]))) << i;
    std::vector<uint16_t> narrow(numbers.size());
    c->f32_to_f16(numbers.data(), narrow.data(), std::ssize(numbers));
    for (size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(narrow[i], f32_to_f16(numbers[i])) << numbers[i];
    c->f32_to_bf16(numbers.data(), narrow.data(), std::ssize(numbers));
    for (size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(narrow[i], f32_to_bf16(numbers[i])) << numbers[i];
    for (int64_t n = 0; n < 70; ++n) {
      c->bf16_to_f32(codes.data() + 16000, wide.data(), n);
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(wide[static_cast<size_t>(i)], bf16_to_f32(static_cast<uint16_t>(16000 + i)));
    }
  }
}

TEST(Converters, FindTheLargestMagnitudeAnywhere) {
  for (const Converter* c : all_converters()) {
    if (c->isa > cpu_isa()) continue;
    std::vector<float> x(67, std::numeric_limits<float>::max());
    EXPECT_EQ(c->largest_magnitude(x.data(), 0), 0.0f);
    EXPECT_EQ(c->largest_magnitude(x.data(), std::ssize(x)), std::numeric_limits<float>::max());
    std::fill(x.begin(), x.end(), -1.0f);
    for (float& v : x) {
      for (const float most : {1.5f, -1.5f, INFINITY, -INFINITY}) {
        v = most;
        EXPECT_EQ(c->largest_magnitude(x.data(), std::ssize(x)), std::abs(most));
      }
      v = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(std::isnan(c->largest_magnitude(x.data(), std::ssize(x))));
      v = -1;
    }
  }
}

}  // namespace
}  // namespace kerf
