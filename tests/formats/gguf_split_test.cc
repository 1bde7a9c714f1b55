// Models in several GGUF files.
#include "formats/gguf.h"
#include "tests/formats/allocation_meter.h"
#include "tests/formats/writing.h"

namespace kerf::test {
namespace {
namespace fs = std::filesystem;
using enum ErrorKind;
constexpr uint32_t kU16 = 2, kI32 = 5, kF32 = 0;

FilePlan three_tensors(uint64_t shard_bytes) {
  return {.tensors = {{"a", "F32", {10}, 40}, {"b", "Q8_0", {2, 32}, 68}, {"c", "F32", {5}, 20}},
          .metadata = {{"general.alignment", uint32_t{64}}, {"k", std::string("v")}},
          .shard_bytes = shard_bytes};
}

std::vector<fs::path> write(const fs::path& path, const FilePlan& plan) {
  const auto writer = create_gguf(path, plan);
  fill(*writer, plan);
  return writer->commit();
}

TEST(GgufSplit, ComesBackAsOneModel) {
  TempDir dir;
  const FilePlan plan = three_tensors(70);
  const auto files = write(dir / "m.gguf", plan);
  EXPECT_EQ(names_in(dir.path()),
            (std::vector<std::string>{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}));
  EXPECT_EQ(gguf_models_in(dir.path()), (std::vector<fs::path>{dir / "m-00001-of-00003.gguf"}));
  const auto r = open_gguf(files[0]);
  EXPECT_EQ(r->files(), files);
  ASSERT_EQ(r->tensors().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(r->tensors()[i].name, plan.tensors[i].name);
    EXPECT_EQ(text_of(r->tensors()[i].bytes), content(i, plan.tensors[i].bytes));
  }
  EXPECT_EQ(*r->get<std::string>("k"), "v");
  EXPECT_EQ(*r->get<uint16_t>("split.no"), 0);
  EXPECT_EQ(*r->get<uint16_t>("split.count"), 3);
  EXPECT_EQ(*r->get<int32_t>("split.tensors.count"), 3);
}

TEST(GgufSplit, IsNoneWhenOneFileIsEnough) {
  TempDir dir;
  write(dir / "m.gguf", three_tensors(128));
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"m.gguf"});
  EXPECT_EQ(open_gguf(dir / "m.gguf")->find_metadata("split.count"), nullptr);
}

TEST(GgufSplit, NamesTheFileThatIsMissing) {
  TempDir dir;
  const auto files = write(dir / "m.gguf", three_tensors(70));
  expect_error(bad_input, {"number 2 of 3", "open the first", "-00001-of-00003.gguf"}, [&] { open_gguf(files[1]); });
  fs::remove(files[2]);
  expect_error(bad_input, {"m-00003-of-00003.gguf is missing", "3 files"}, [&] { open_gguf(files[0]); });
  fs::rename(files[0], dir / "first.gguf");
  expect_error(bad_input, {"first.gguf", "call it NAME-00001-of-00003.gguf"}, [&] { open_gguf(dir / "first.gguf"); });
}

GgufFile shard(uint16_t number, uint16_t count, int32_t tensors, std::string_view tensor) {
  GgufFile f;
  f.key("split.no", kU16, raw(number)).key("split.count", kU16, raw(count));
  f.key("split.tensors.count", kI32, raw(tensors)).tensor(tensor, {0}, kF32, 0);
  return f;
}

TEST(GgufSplit, RefusesFilesThatDoNotBelongTogether) {
  TempDir dir;
  const fs::path first = dir / "m-00001-of-00002.gguf", second = dir / "m-00002-of-00002.gguf";
  put_file(first, shard(0, 2, 2, "a").bytes());
  put_file(second, shard(1, 2, 2, "b").bytes());
  EXPECT_EQ(open_gguf(first)->tensors().size(), 2u);
  const auto refused = [&](std::initializer_list<std::string_view> words, const GgufFile& other) {
    put_file(second, other.bytes());
    expect_error(bad_input, words, [&] { open_gguf(first); });
  };
  refused({"m-00002", "'a'", "an earlier file"}, shard(1, 2, 2, "a"));
  refused({"number 1 of 2", "number 2 of 2"}, shard(0, 2, 2, "b"));
  refused({"of 7 files"}, shard(1, 7, 2, "b"));
  refused({"of 1 files"}, GgufFile{}.tensor("b", {0}, kF32, 0));
  refused({"m-00002", "cut short"}, GgufFile{.tensor_count = 1});
  put_file(second, shard(1, 2, 2, "b").bytes());
  put_file(first, shard(0, 2, 3, "a").bytes());
  expect_error(bad_input, {"2 tensors", "should have 3"}, [&] { open_gguf(first); });
}

TEST(GgufSplit, RefusesKeysThatLie) {
  TempDir dir;
  const auto refused = [&](std::initializer_list<std::string_view> words, const GgufFile& f) {
    put_file(dir / "m.gguf", f.bytes());
    expect_error(bad_input, words, [&] { open_gguf(dir / "m.gguf"); });
  };
  AllocationMeter meter;
  refused({"m.gguf", "-00001-of-65535.gguf"}, shard(0, 65535, 1, "a"));
  refused({"number 65536 of 65535"}, shard(65535, 65535, 1, "a"));
  refused({"split.count", "i32"}, GgufFile{}.key("split.count", kI32, raw(int32_t{2})));
  refused({"split.no"}, GgufFile{}.key("split.count", kU16, raw(uint16_t{2})));
  put_file(dir / "m-00001-of-65535.gguf", shard(0, 65535, 1, "a").bytes());
  expect_error(bad_input, {"m-00002-of-65535.gguf is missing"}, [&] { open_gguf(dir / "m-00001-of-65535.gguf"); });
  EXPECT_LT(meter.total(), 100'000u);
}

}  // namespace
}  // namespace kerf::test
