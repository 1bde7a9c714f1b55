#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <functional>

#include <string>
#include <vector>

#include "core/error.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

ErrorKind kind_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.kind();
  }
  return ErrorKind::internal;
}

TEST(AtomicFile, ReplacesOnlyOnCommit) {
  test::TempDir dir;
  write_text(dir / "a", "old");
  {
    AtomicFile f(dir / "a");
    f.append(as_bytes("new"));
    EXPECT_EQ(read_text(dir / "a"), "old");
  }
  EXPECT_EQ(read_text(dir / "a"), "old");
  EXPECT_FALSE(fs::exists(partial_name(dir / "a")));
  AtomicFile f(dir / "a");
  f.append(as_bytes("new"));
  f.write_at(0, as_bytes("N"));
  f.commit();
  EXPECT_EQ(read_text(dir / "a"), "New");
  EXPECT_FALSE(fs::exists(partial_name(dir / "a")));
}

TEST(AtomicFile, AFileSizeLimitIsAnErrorAndLeavesTheOldFile) {
  test::TempDir dir;
  write_text(dir / "a", "old");
  rlimit saved{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &saved), 0);
  rlimit small = saved;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const ErrorKind kind = kind_of([&] {
    AtomicFile f(dir / "a");
    f.append(as_bytes(std::string(5000, 'x')));
    f.commit();
  });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &saved), 0);
  EXPECT_EQ(kind, ErrorKind::io);
  EXPECT_EQ(read_text(dir / "a"), "old");
  EXPECT_FALSE(fs::exists(partial_name(dir / "a")));
}

// The name until commit() is one of kerf's own: NAME.partial may be somebody's file.
TEST(AtomicFile, LeavesANeighbourOfTheSamePrefixAlone) {
  test::TempDir dir;
  write_text(dir / "a.partial", "precious");
  write_text(dir / "a", "new");
  EXPECT_EQ(read_text(dir / "a.partial"), "precious");
}

TEST(AtomicFile, WritesWhereALinkLeadsAndRefusesWhatIsNoFile) {
  test::TempDir dir;
  write_text(dir / "target", "old");
  fs::create_symlink("target", dir / "link");
  write_text(dir / "link", "new");
  EXPECT_EQ(read_text(dir / "target"), "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  fs::create_symlink("nowhere", dir / "dangling");
  fs::create_directory(dir / "folder");
  for (const fs::path& name : {dir / "pipe", dir / "dangling", dir / "folder", fs::path("/dev/null")})
    EXPECT_EQ(kind_of([&] { AtomicFile f(name); }), ErrorKind::usage) << name;
  EXPECT_TRUE(fs::is_fifo(dir / "pipe"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST(AtomicFile, RefusesANameThatIsBeingWrittenAndTakesOneThatWasLeft) {
  const test::TempDir dir;
  {
    AtomicFile first(dir / "a");
    EXPECT_TRUE(test::mentions(test::refusal([&] { AtomicFile(dir / "a"); }, ErrorKind::usage), "another run"));
    first.append(std::as_bytes(std::span("first", 5)));
    first.commit();
  }
  EXPECT_EQ(read_text(dir / "a"), "first");
  write_text(dir / "b", "left by a run that was killed");
  std::filesystem::rename(dir / "b", partial_name(dir / "a"));
  write_text(dir / "a", "second");
  EXPECT_EQ(read_text(dir / "a"), "second");
}

TEST(AtomicFile, KeepsTheModeOfWhatItReplaces) {
  const test::TempDir dir;
  write_text(dir / "a", "x");
  fs::permissions(dir / "a", fs::perms::owner_read | fs::perms::owner_write);
  write_text(dir / "a", "y");
  EXPECT_EQ(fs::status(dir / "a").permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST(AtomicFile, RefusesAFolderThatDoesNotExist) {
  EXPECT_EQ(kind_of([] { AtomicFile f("/nonexistent-folder/x"); }), ErrorKind::io);
}

TEST(MappedFile, SeesTheBytesAndAllowsEmptyFiles) {
  test::TempDir dir;
  write_text(dir / "a", "hello");
  write_text(dir / "empty", "");
  const MappedFile a(dir / "a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(a.bytes().data()), a.bytes().size()), "hello");
  a.release(a.bytes());
  EXPECT_EQ(std::to_integer<char>(a.bytes()[1]), 'e');
  EXPECT_TRUE(MappedFile(dir / "empty").bytes().empty());
  EXPECT_EQ(kind_of([&] { MappedFile m(dir / "missing"); }), ErrorKind::io);
  EXPECT_EQ(kind_of([&] { MappedFile m(dir.path()); }), ErrorKind::io);
}

TEST(MappedFile, ReadsWhatItMapsAndSaysWhenTheFileBecameShorter) {
  test::TempDir dir;
  std::string text(100000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  write_text(dir / "a", text);
  MappedFile first(dir / "a");
  const MappedFile a = std::move(first);
  std::vector<std::byte> to(70001);
  const auto part = a.bytes().subspan(29998, to.size());
  a.read(part, to);
  EXPECT_TRUE(std::equal(to.begin(), to.end(), part.begin()));
  fs::resize_file(dir / "a", 50000);
  EXPECT_EQ(kind_of([&] { a.read(part, to); }), ErrorKind::io);
}

TEST(ReadText, RefusesMoreThanTheLimit) {
  test::TempDir dir;
  write_text(dir / "a", "hello");
  EXPECT_EQ(kind_of([&] { read_text(dir / "a", 4); }), ErrorKind::bad_input);
}

}  // namespace
}  // namespace kerf
