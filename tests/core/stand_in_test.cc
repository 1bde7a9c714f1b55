#include "core/stand_in.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
using namespace std::literals;

constexpr std::string_view kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

TEST(StandIn, PointersAreRefusedWhereverAFileIsRead) {
  test::TempDir dir;
  for (const std::string_view content : {kPointer, "../../blobs/4d7a214614ab2935c943f9e0ff69d22eadbb8f32"sv}) {
    const auto file = dir / "tokenizer.model";
    std::filesystem::remove(file);
    write_text(file, content);
    for (const std::string& said : {test::refusal([&] { (void)read_text(file); }, ErrorKind::bad_input),
                                    test::refusal([&] { MappedFile m(file); }, ErrorKind::bad_input)})
      EXPECT_TRUE(test::mentions(said, "tokenizer.model is a") && test::mentions(said, "not the file itself")) << said;
  }
}

TEST(StandIn, OtherTextsAreNoPointers) {
  for (const std::string& text : {""s, "version https://example.org"s, "../blobs/x\nand more"s,
                                  std::string(kPointer) + std::string(1000, 'x'), "see " + std::string(kPointer)})
    EXPECT_EQ(pointer_in_place_of(text), "") << text;
}

TEST(StandIn, KnowsWhatServersAndOtherProgramsLeave) {
  EXPECT_EQ(seems_to_be("\n <!doctype HTML>x").substr(0, 12), "an HTML page");
  EXPECT_EQ(seems_to_be("PK\x03\x04zzz").substr(0, 13), "a ZIP archive");
  EXPECT_EQ(seems_to_be("\x1F\x8B\x08\x00"sv), "a file compressed by gzip");
  EXPECT_EQ(seems_to_be("Invalid credentials\nmore"), "text that begins with 'Invalid credentials'");
  EXPECT_EQ(seems_to_be(std::string(500, 'x')), "text that begins with '" + std::string(60, 'x') + "'");
  EXPECT_EQ(seems_to_be(""), "");
  EXPECT_EQ(seems_to_be("\x10\0\0\0\0\0\0\0{}"sv), "");
}

}  // namespace
}  // namespace kerf
