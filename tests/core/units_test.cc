#include "core/units.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/nearest.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

TEST(Sizes, TakeFractionsAndEveryUnit) {
  EXPECT_EQ(parse_bytes("90000000"), 90'000'000u);
  EXPECT_EQ(parse_bytes("2.5MB"), 2'500'000u);
  EXPECT_EQ(parse_bytes("2.3MB"), 2'300'000u) << "not one byte less";
  EXPECT_EQ(parse_bytes(" 1.5 GB "), 1'500'000'000u);
  EXPECT_EQ(parse_bytes("1.5gib"), 1'610'612'736u);
  EXPECT_EQ(parse_bytes("0.5K"), 500u);
  EXPECT_EQ(parse_bytes("1Ki"), 1024u);
  EXPECT_EQ(parse_bytes("2TB"), 2'000'000'000'000u);
  EXPECT_EQ(parse_bytes("1e6"), 1'000'000u);
  EXPECT_EQ(parse_bytes("7B"), 7u);
}

TEST(Sizes, RefuseWhatIsNone) {
  for (const char* bad : {"", "MB", "0", "0MB", "-5", "-5MB", "2.5", "2.5B", "0.0001KB", "1e30", "nan", "inf", "5XB",
                          "5MBB", "5 M B", "0x10", "1 000MB", "+5MB"})
    EXPECT_TRUE(test::mentions(test::refusal([&] { parse_bytes(bad); }, ErrorKind::usage), "2.5MB")) << bad;
  EXPECT_TRUE(test::mentions(test::refusal([] { parse_bytes("1,5GB"); }, ErrorKind::usage), "such as 1.5GB"));
}

TEST(Durations, ArePeoples) {
  EXPECT_EQ(duration_text(0), "1 s");
  EXPECT_EQ(duration_text(107.4), "107 s");
  EXPECT_EQ(duration_text(1660), "28 min");
  EXPECT_EQ(duration_text(7200), "2 h");
  EXPECT_EQ(duration_text(12000), "3 h 20 min");
}

TEST(Nearest, FindsWhatWasMeant) {
  const std::string_view known[] = {"llama.cpp-cpu", "vllm", "awq", "Q4_K_M"};
  EXPECT_EQ(nearest("vlm", known), "vllm");
  EXPECT_EQ(nearest("VLLM", known), "vllm");
  EXPECT_EQ(nearest("aqw", known), "awq");
  EXPECT_EQ(nearest("lama.cpp_cpu", known), "llama.cpp-cpu");
  EXPECT_EQ(nearest("q4km", known), "");
  EXPECT_EQ(nearest("q4_km", known), "Q4_K_M");
  EXPECT_EQ(nearest("tensorflow", known), "");
  EXPECT_EQ(nearest("", known), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), known), "");
}

}  // namespace
}  // namespace kerf
