#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/checked.h"
#include "core/error.h"

namespace kerf {
namespace {

TEST(ParallelFor, RunsEveryIndexOnceForAnyNumberOfThreads) {
  for (int n : {1, 2, 3, 8}) {
    set_threads(n);
    std::vector<std::atomic<int>> seen(1000);
    parallel_for(1000, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
    for (auto& s : seen) EXPECT_EQ(s, 1);
  }
  set_threads(0);
}

TEST(ParallelFor, CarriesAnExceptionOutOfTheRegion) {
  set_threads(3);
  try {
    parallel_for(100, [](int64_t i) {
      if (i == 40) fail(ErrorKind::numerical, "index {}", i);
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "index 40");
    EXPECT_EQ(e.kind(), ErrorKind::numerical);
  }
  set_threads(0);
}

TEST(ParallelFor, NestsSerially) {
  set_threads(2);
  std::atomic<int> total{0};
  parallel_for(10, [&](int64_t) { parallel_for(10, [&](int64_t) { ++total; }); });
  EXPECT_EQ(total, 100);
  set_threads(0);
}

TEST(SetThreads, RefusesNumbersThatNoMachineHas) {
  for (const int n : {-1, 1025, 100000}) EXPECT_THROW(set_threads(n), Error) << n;
  set_threads(1024);
  set_threads(0);
}

TEST(Checked, OverflowIsBadInput) {
  EXPECT_EQ(checked_mul<int64_t>(3, 4, "x"), 12);
  EXPECT_THROW(checked_mul<int64_t>(int64_t{1} << 62, 2, "x"), Error);
  EXPECT_THROW(checked_add<uint64_t>(~uint64_t{0}, 1, "x"), Error);
  EXPECT_THROW((checked_cast<int32_t, uint64_t>(uint64_t{1} << 31, "x")), Error);
  const std::vector<int64_t> huge{int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THROW(checked_elements(huge, "shape"), Error);
  EXPECT_EQ(ceil_div(7, 3), 3);
  EXPECT_EQ(round_up(7, 4), 8);
}

}  // namespace
}  // namespace kerf
