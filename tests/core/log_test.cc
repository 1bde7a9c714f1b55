#include "core/log.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace kerf {
namespace {
using std::chrono::milliseconds;

// What f() prints on stderr, which is then no terminal.
template <class F>
std::string said(F&& f) {
  testing::internal::CaptureStderr();
  f();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, ProgressIsPlainLinesWhereStderrIsNoTerminal) {
  set_progress_interval(milliseconds(1));
  const std::string lines = said([] {
    Progress progress("packing block", 4);
    progress.advance(3);
    std::this_thread::sleep_for(milliseconds(200));  // lines come from a thread
  });
  EXPECT_TRUE(test::mentions(lines, "packing block 3/4 after 0 s, about 0 s left\n")) << lines;
  EXPECT_EQ(lines.find('\r'), std::string::npos) << lines;
  EXPECT_EQ(lines.find('\033'), std::string::npos) << lines;
  // Also while nothing advances.
  const std::string waiting = said([] {
    const Progress progress("calibrating block", 2);
    std::this_thread::sleep_for(milliseconds(200));
  });
  EXPECT_TRUE(test::mentions(waiting, "calibrating block 0/2 after 0 s\n")) << waiting;
  set_progress_interval(std::chrono::seconds(30));
  const auto soon = [] {
    Progress progress("packing block", 4);
    progress.advance(4);
  };
  EXPECT_EQ(said(soon), "");  // over before half a minute
  set_progress_interval(milliseconds(1));
  set_quiet(true);
  EXPECT_EQ(said([] {
              Progress progress("packing block", 4);
              std::this_thread::sleep_for(milliseconds(3));
              progress.advance(4);
            }),
            "");
  set_quiet(false);
  set_progress_interval(std::chrono::seconds(30));
}

TEST(Log, DetailsAreForTheVerbose) {
  EXPECT_EQ(said([] { detail("x"); }), "");
  set_verbose(true);
  EXPECT_EQ(said([] { detail("x"); }), "x\n");
  set_quiet(true);
  EXPECT_EQ(said([] { detail("x"); }), "");
  set_quiet(false);
  set_verbose(false);
}

TEST(Log, TimesAreSaidAsPeopleSayThem) {
  using std::chrono::seconds;
  EXPECT_EQ(in_words(seconds(40)), "40 s");
  EXPECT_EQ(in_words(seconds(99)), "99 s");
  EXPECT_EQ(in_words(seconds(1660)), "28 min");
  EXPECT_EQ(in_words(seconds(9000)), "2.5 h");
}

}  // namespace
}  // namespace kerf
