// Speeds are measured on a part of a model where the whole would take too long.
#include "pipeline/runs/speed_run.h"

#include <gtest/gtest.h>

#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

TEST(Speed, OfAPartIsAboutThatOfTheWhole) {
  const Artifact a = open_artifact(test::example_dir());
  constexpr SpeedLimits kWhole{.ctx = 64, .seconds = 0.05};
  SpeedLimits part = kWhole;
  part.held = 1;  // a block, and a row of the head
  part.passed = 1;
  const Speed whole = measure_speed(a, VerifyMode::float32, kWhole), some = measure_speed(a, VerifyMode::float32, part);
  // Of the same order: the machine may be busy, and caches are larger than a part.
  EXPECT_GT(some.prefill, whole.prefill / 20);
  EXPECT_LT(some.prefill, whole.prefill * 20);
  EXPECT_GT(some.decode, 0);
  EXPECT_LT(speed_memory(a.architecture, part), speed_memory(a.architecture, kWhole));
}

TEST(Speed, WindowsAreNoLongerThanTheContext) {
  const Artifact a = open_artifact(test::example_dir());
  EXPECT_EQ(prefill_tokens(a.architecture, 0), a.architecture.context);
  EXPECT_EQ(prefill_tokens(a.architecture, 7), 7);
  EXPECT_TRUE(
      test::mentions(test::refusal([&] { measure_speed(a, VerifyMode::runtime, {.ctx = a.architecture.context + 1}); },
                                   ErrorKind::usage),
                     "the model's context"));
}

}  // namespace
}  // namespace kerf
