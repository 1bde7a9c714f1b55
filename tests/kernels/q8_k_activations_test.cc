// Activations in blocks of 256: a worked example, and the values with which the division goes wrong.
#include "kernels/gguf/q8_k_activations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/error.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

struct Rounded {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int16_t> sums;
};

Rounded rounded(const std::vector<float>& x) {
  const PackedMatrix w{.rows = 1, .cols = static_cast<int64_t>(x.size())};
  std::vector<std::byte> row(static_cast<size_t>(q8_k_activation_bytes(w)), std::byte{0xee});
  round_to_q8_k_ref(w, x.data(), row.data());
  Rounded r{.codes = std::vector<int8_t>(x.size()),
            .scales = std::vector<float>(x.size() / 256),
            .sums = std::vector<int16_t>(x.size() / 16)};
  std::memcpy(r.codes.data(), row.data(), x.size());
  std::memcpy(r.scales.data(), row.data() + x.size(), r.scales.size() * 4);
  std::memcpy(r.sums.data(), row.data() + x.size() + r.scales.size() * 4, r.sums.size() * 2);
  return r;
}

TEST(Q8KActivations, GiveTheLargestTheCodeMinus127AndRoundTiesToEven) {
  std::vector<float> x(512, 0.0f);
  x[3] = -127.0f;  // i = -127 / -127, and so is the scale
  x[4] = 0.5f;
  x[5] = 1.5f;
  x[16] = 127.0f;
  x[300] = 254.0f;  // the second block: scale -2
  x[301] = -3.0f;
  const Rounded r = rounded(x);
  EXPECT_EQ(r.scales, (std::vector<float>{1.0f, -2.0f}));
  EXPECT_EQ(r.codes[3], -127);
  EXPECT_EQ(r.codes[4], 0);
  EXPECT_EQ(r.codes[5], 2);
  EXPECT_EQ(r.codes[16], 127);
  EXPECT_EQ(r.codes[300], -127);
  EXPECT_EQ(r.codes[301], 2);
  EXPECT_EQ(r.sums[0], -125);
  EXPECT_EQ(r.sums[1], 127);
  EXPECT_EQ(r.sums[300 / 16], -125);
}

TEST(Q8KActivations, AreZeroWhereThereIsNoFiniteInverse) {
  std::vector<float> x(4 * 256, 0.0f);
  x[256] = 1e-39f;
  x[512] = std::numeric_limits<float>::infinity();
  x[768] = -1.0f;
  x[770] = std::numeric_limits<float>::quiet_NaN();
  const Rounded r = rounded(x);
  EXPECT_EQ(r.scales[0], 0.0f);
  EXPECT_EQ(r.scales[1], 0.0f);
  EXPECT_TRUE(std::isinf(r.scales[2]));
  EXPECT_TRUE(std::isnan(r.scales[3]));
  for (int8_t code : r.codes) EXPECT_EQ(code, 0);
  for (int16_t sum : r.sums) EXPECT_EQ(sum, 0);
}

TEST(Q8KActivations, RefuseRowsThatAreNoMultipleOf256) {
  EXPECT_THROW(q8_k_activation_bytes({.rows = 1, .cols = 288}), Error);
  EXPECT_EQ(q8_k_activation_bytes({.rows = 1, .cols = 512}), 2 * (256 + 4 + 32));
}

}  // namespace
}  // namespace kerf
