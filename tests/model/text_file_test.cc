// What is no text is refused by its name; pipes, standard input and byte order marks are read.
#include "model/text/text_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf::test {
namespace {

using namespace std::string_view_literals;

struct NoText {
  const char* name;
  std::string bytes;
  std::vector<std::string> says;
};

std::string tar() {
  std::string s(512, '\0');
  s.replace(0, 5, "a.txt");
  s.replace(257, 5, "ustar");
  return s;
}

const NoText kNoTexts[] = {
    {"Gzip", std::string("\x1F\x8B\x08\0\0\0\0\0"sv), {"compressed by gzip", "gzip -dc"}},
    {"Zstandard", std::string("\x28\xB5\x2F\xFD\x04\0"sv), {"Zstandard", "zstd -dc"}},
    {"Bzip2", "BZh91AY&SY\xFF\xFE", {"bzip2 -dc"}},
    {"Xz", std::string("\xFD\x37zXZ\0\0"sv), {"xz -dc"}},
    {"Zip", "PK\x03\x04....", {"a zip archive", "unzip -p"}},
    {"Tar", tar(), {"a tar archive", "tar -xOf"}},
    {"Parquet", std::string("PAR1\x15\0"sv), {"a Parquet file", "read_parquet"}},
    {"ArrowFile", std::string("ARROW1\0\0"sv), {"an Arrow file", "datasets"}},
    {"ArrowStream", std::string("\xFF\xFF\xFF\xFF\x10\0\0\0"sv), {"an Arrow stream", "datasets"}},
    {"Pdf", "%PDF-1.7\n%\xE2\xE3", {"a PDF file", "pdftotext"}},
    {"Gguf", std::string("GGUF\x03\0\0\0"sv), {"a GGUF model"}},
    {"LfsPointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", {"Git LFS pointer"}},
    {"Utf16WithMark", std::string("\xFF\xFEh\0i\0"sv), {"UTF-16", "iconv -f UTF-16 -t UTF-8"}},
    {"Utf16BigEndian", std::string("\xFE\xFF\0h\0i"sv), {"UTF-16", "iconv"}},
    {"Utf16WithoutMark", std::string("h\0e\0l\0l\0o\0"sv), {"UTF-16LE", "iconv -f UTF-16LE"}},
    {"Utf32", std::string("\xFF\xFE\0\0h\0\0\0"sv), {"UTF-32"}},
    {"Latin1", "caf\xE9 au lait", {"not UTF-8: byte 3", "ISO-8859-1"}},
    {"BinaryBehindText",
     std::string("{\"__metadata__\": {}}") + std::string(400, ' ') + std::string("\0\xFF\xC1"sv),
     {"binary data"}},
    {"Binary", std::string(100, '\x01') + std::string(100, '\xFF'), {"binary data", "control characters"}},
};

class NoTextFile : public testing::TestWithParam<NoText> {};

TEST_P(NoTextFile, IsRefusedByItsName) {
  const TempDir dir;
  const std::filesystem::path file = dir / "given.txt";
  write_text(file, GetParam().bytes);
  const std::string said = refusal([&] { read_text_file(file); }, ErrorKind::bad_input);
  EXPECT_TRUE(mentions(said, "given.txt")) << said;
  for (const std::string& part : GetParam().says) EXPECT_TRUE(mentions(said, part)) << said;
}
INSTANTIATE_TEST_SUITE_P(Formats, NoTextFile, testing::ValuesIn(kNoTexts),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(TextFile, LeavesAByteOrderMarkOut) {
  const TempDir dir;
  write_text(dir / "t.txt", "\xEF\xBB\xBFOnce");
  EXPECT_EQ(read_text_file(dir / "t.txt"), "Once");
}

TEST(TextFile, TakesTextsThatOnlyLookOtherwise) {
  const TempDir dir;
  for (const char* text : {"BZh is no bzip2 file here", "PKI and PAR1 are names", "a\fb\vc\n", "%PDF is a mark"}) {
    write_text(dir / "t.txt", text);
    EXPECT_EQ(read_text_file(dir / "t.txt"), text);
  }
}

TEST(TextFile, ReadsAPipeOnceAndRemembersIt) {
  const TempDir dir;
  const std::filesystem::path pipe = dir / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] {
    FILE* f = std::fopen(pipe.c_str(), "w");
    std::fputs("Once upon a time", f);
    std::fclose(f);
  });
  EXPECT_EQ(read_text_file(pipe), "Once upon a time");
  writer.join();
  EXPECT_EQ(read_text_file(pipe), "Once upon a time");
}

}  // namespace
}  // namespace kerf::test
