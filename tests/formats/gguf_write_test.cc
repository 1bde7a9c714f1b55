#include "formats/container.h"

#include "formats/ggml_type.h"
#include "tests/formats/writing.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using enum ErrorKind;

TEST(GgufWriter, WritesTheBytesOfTheFormat) {
  TempDir dir;
  const FilePlan p = {.tensors = {{"w", "Q8_0", {2, 32}, 68}, {"s", "F32", {}, 4}},
                      .metadata = {{"k", uint16_t{513}}, {"l", MetaArray{std::vector<std::string>{"x", ""}}}}};
  const auto w = find_container("gguf").create(dir / "f.gguf", p);
  fill(*w, p);
  w->commit();
  GgufFile f;
  f.key("k", 2, raw(uint16_t{513})).key("l", 9, raw(8u) + raw(uint64_t{2}) + gguf_string("x") + gguf_string(""));
  f.tensor("w", {32, 2}, 8, 0).tensor("s", {1}, 0, 96);
  f.data = content(0, 68) + std::string(28, '\0') + content(1, 4) + std::string(28, '\0');
  EXPECT_EQ(read_text(dir / "f.gguf"), f.bytes());
}

TEST(GgufWriter, KeepsMetadataOfEveryType) {
  TempDir dir;
  const Metadata all = {{"0", uint8_t{1}},
                        {"1", int8_t{-1}},
                        {"2", uint16_t{2}},
                        {"3", int16_t{-2}},
                        {"4", uint32_t{3}},
                        {"5", int32_t{-3}},
                        {"6", 0.5f},
                        {"7", true},
                        {"8", std::string("ß")},
                        {"10", ~uint64_t{0}},
                        {"11", int64_t{-4}},
                        {"12", 0.1},
                        {"a0", MetaArray{std::vector<uint8_t>{1, 2}}},
                        {"a1", MetaArray{std::vector<int8_t>{-1}}},
                        {"a2", MetaArray{std::vector<uint16_t>{1}}},
                        {"a3", MetaArray{std::vector<int16_t>{1}}},
                        {"a4", MetaArray{std::vector<uint32_t>{1}}},
                        {"a5", MetaArray{std::vector<int32_t>{1}}},
                        {"a6", MetaArray{std::vector<float>{1.5f}}},
                        {"a7", MetaArray{std::vector<bool>{true, false}}},
                        {"a8", MetaArray{std::vector<std::string>{"x"}}},
                        {"a10", MetaArray{std::vector<uint64_t>{1}}},
                        {"a11", MetaArray{std::vector<int64_t>{}}},
                        {"a12", MetaArray{std::vector<double>{1, 2, 3}}},
                        {"general.alignment", uint32_t{64}}};
  find_container("gguf").create(dir / "f.gguf", {.metadata = all})->commit();
  EXPECT_EQ(open_container(dir / "f.gguf")->metadata(), all);
}

TEST(GgufWriter, WritesEveryTypeAtAnyAlignment) {
  for (const uint32_t alignment : {8u, 32u, 4096u}) {
    TempDir dir;
    FilePlan p = {.metadata = {{"general.alignment", alignment}}};
    for (const GgmlType& t : ggml_types())
      if (!t.withdrawn())
        p.tensors.push_back(
            {std::string(t.name), std::string(t.name), {3, t.block}, static_cast<uint64_t>(3 * t.block_bytes)});
    const auto w = find_container("gguf").create(dir / "f.gguf", p);
    fill(*w, p);
    w->commit();
    const auto r = open_container(dir / "f.gguf");
    for (size_t i = 0; i < p.tensors.size(); ++i)
      EXPECT_EQ(text_of(r->tensors()[i].bytes), content(i, p.tensors[i].bytes));
    EXPECT_EQ((r->tensors()[1].bytes.data() - r->tensors()[0].bytes.data()) % alignment, 0);
    EXPECT_EQ(fs::file_size(dir / "f.gguf") % alignment, 0u);
  }
}

TEST(GgufWriter, RefusesWhatTheFormatCannotHold) {
  TempDir dir;
  const auto refuses = [&](ErrorKind kind, std::initializer_list<std::string_view> words, const FilePlan& p) {
    expect_error(kind, words, [&] { find_container("gguf").create(dir / "f.gguf", p); });
    EXPECT_TRUE(names_in(dir.path()).empty());
  };
  refuses(unsupported, {"64 bytes", "1 to 63"}, {.tensors = {{std::string(64, 'x'), "F32", {1}, 4}}});
  refuses(unsupported, {"1 to 63"}, {.tensors = {{"", "F32", {1}, 4}}});
  refuses(unsupported, {"5 dimensions"}, {.tensors = {{"a", "F32", {1, 1, 1, 1, 1}, 4}}});
  refuses(unsupported, {"Q4_0_4_4", "withdrawn"}, {.tensors = {{"a", "Q4_0_4_4", {32}, 18}}});
  refuses(bad_input, {"rows of 31", "Q4_0", "32"}, {.tensors = {{"a", "Q4_0", {32, 31}, 18}}});
  refuses(bad_input, {"general.alignment is 48"}, {.metadata = {{"general.alignment", uint32_t{48}}}});
  refuses(internal, {"must be u32, not i32"}, {.metadata = {{"general.alignment", int32_t{32}}}});
  refuses(internal, {"array of arrays"}, {.metadata = {{"k", MetaArray{std::monostate{}}}}});
  refuses(internal, {"empty"}, {.metadata = {{"", uint8_t{1}}}});
  refuses(internal, {"longer than 65535"}, {.metadata = {{std::string(65536, 'k'), uint8_t{1}}}});
}

}  // namespace
}  // namespace kerf::test
