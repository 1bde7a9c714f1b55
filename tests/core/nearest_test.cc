#include "core/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace kerf {
namespace {

TEST(Nearest, FindsWhatWasMeantAndNothingElse) {
  const std::vector<std::string_view> names = {"compress", "verify", "eval", "--target", "--calib", "--calib-windows"};
  EXPECT_EQ(nearest("comprss", names), "compress");
  EXPECT_EQ(nearest("Compres", names), "compress");
  EXPECT_EQ(nearest("vreify", names), "verify");
  EXPECT_EQ(nearest("evla", names), "eval");
  EXPECT_EQ(nearest("evaluate", names), "eval");
  EXPECT_EQ(nearest("--taget", names), "--target");
  EXPECT_EQ(nearest("--targets", names), "--target");
  EXPECT_EQ(nearest("--calibration", names), "--calib");
  EXPECT_EQ(nearest("--calib-window", names), "--calib-windows");
  EXPECT_EQ(nearest("quantize", names), "");
  EXPECT_EQ(nearest("x", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(1'000'000, 'c'), names), "");
}

}  // namespace
}  // namespace kerf
