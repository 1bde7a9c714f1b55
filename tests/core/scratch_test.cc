#include "core/scratch.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

constexpr int64_t kMany = 100'000;

TEST(Scratch, WhatPassesTheLimitLiesInFilesThatNobodySees) {
  test::TempDir dir;
  Scratch scratch(kMany * sizeof(float), dir.path());
  {
    const ScratchArray first = scratch.floats(kMany), second = scratch.floats(kMany);
    EXPECT_FALSE(first.in_file());
    EXPECT_TRUE(second.in_file());
    EXPECT_EQ(scratch.in_files(), kMany * sizeof(float));
    EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  }
  EXPECT_EQ(scratch.in_files(), 0u);
  EXPECT_FALSE(scratch.floats(kMany).in_file());  // what was given back counts no more
}

TEST(Scratch, NumbersThatWereLeftComeBack) {
  test::TempDir dir;
  Scratch scratch(0, dir.path());
  ScratchArray a = scratch.floats(kMany);
  std::iota(a.data(), a.data() + kMany, 0.0f);
  for (int64_t begin = 0; begin < kMany; begin += 3000) a.leave(begin, std::min<int64_t>(3000, kMany - begin));
  const ScratchArray moved = std::move(a);
  EXPECT_EQ(a.data(), nullptr);
  for (int64_t i = 0; i < kMany; ++i) ASSERT_EQ(moved.data()[i], static_cast<float>(i));
}

TEST(Scratch, AFullDiskAndAMissingFolderAreErrors) {
  test::TempDir dir;
  for (const auto& [folder, floats] : {std::pair(dir.path(), int64_t{1} << 60), {dir / "missing", int64_t{1}}}) {
    Scratch scratch(0, folder);
    const std::string said = test::refusal([&] { (void)scratch.floats(floats); }, ErrorKind::io);
    EXPECT_TRUE(test::mentions(said, "--memory")) << folder << ": " << said;
    EXPECT_EQ(scratch.in_files(), 0u);
  }
}

}  // namespace
}  // namespace kerf
