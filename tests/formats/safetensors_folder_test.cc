// The index of a sharded checkpoint, and the folders it lies in.
#include "formats/safetensors.h"

#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

using enum ErrorKind;

void index_refuses(std::initializer_list<std::string_view> words, const std::string& json) {
  SCOPED_TRACE(json.substr(0, 200));
  expect_error(bad_input, words, [&] { parse_safetensors_index(json, "I"); });
}

TEST(SafetensorsIndex, ReadsTheMapAndIgnoresTheRest) {
  const auto map = parse_safetensors_index(
      R"({"metadata":{"total_size":1e3,"x":[{"weight_map":null},-1,true]},"weight_map":{"b":"2","a":"1"},"other":"y"})",
      "I");
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(map, (std::vector<Pair>{{"b", "2"}, {"a", "1"}}));
}

TEST(SafetensorsIndex, RefusesDamage) {
  index_refuses({"no weight_map"}, "{}");
  index_refuses({"not valid JSON"}, "");
  index_refuses({"not valid JSON"}, R"({"weight_map":{"a":"1")");
  index_refuses({"not valid UTF-8"}, "{\"weight_map\":{\"\xff\":\"1\"}}");
  index_refuses({"an array where an object"}, "[]");
  index_refuses({"a string where an object"}, "\"x\"");
  for (const char* v : {"1", "[]", "\"a\"", "null", "true", "-1", "0.5"})
    index_refuses({"where an object with weight_map should be"}, fmt::format(R"({{"weight_map":{}}})", v));
  for (const char* v : {"1", "[]", "{}", "null", "true", "-1", "0.5"})
    index_refuses({"only file names are allowed"}, fmt::format(R"({{"weight_map":{{"a":{}}}}})", v));
  index_refuses({"'a' twice"}, R"({"weight_map":{"a":"1","a":"2"}})");
  index_refuses({"two weight_map"}, R"({"weight_map":{},"weight_map":{}})");
}

TEST(SafetensorsIndex, RefusesFilesOutsideItsFolder) {
  for (const char* file : {"../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\u0000b"})
    index_refuses({"only plain file names"}, fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", file));
}

TEST(SafetensorsIndex, RefusesNestingBombs) {
  index_refuses({"nests deeper than 32 levels"}, "{\"metadata\":" + std::string(100'000, '['));
  std::string objects = "{\"metadata\":";
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  index_refuses({"nests deeper than 32 levels"}, objects);
}

struct Folder {
  TempDir dir;
  void put(std::string_view name, std::string_view bytes) { put_file(dir / name, bytes); }
  void refuses(ErrorKind kind, std::initializer_list<std::string_view> words) {
    expect_error(kind, words, [&] { open_safetensors(dir.path()); });
  }
};
const std::string kShardA =
    safetensors_bytes(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "aa");
const std::string kShardB = safetensors_bytes(
    R"({"__metadata__":{"format":"pt","more":"1"},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "b");
constexpr const char* kIndex = "model.safetensors.index.json";

TEST(SafetensorsFolder, ReadsShardsOfAnyNameAndOrderAsOne) {
  Folder f;
  f.put("z.safetensors", kShardA);
  f.put("m.safetensors", kShardB);
  f.put(kIndex, R"({"weight_map":{"a":"z.safetensors","b":"m.safetensors"}})");
  for (const auto& path : {f.dir.path(), f.dir / kIndex}) {
    const auto r = open_safetensors(path);
    ASSERT_EQ(r->tensors().size(), 2u);
    EXPECT_EQ(r->tensors()[0].name, "b");
    EXPECT_EQ(r->find("a")->bytes.size(), 2u);
    EXPECT_EQ(r->find("a")->bytes[0], std::byte{'a'});
    EXPECT_EQ(r->find("b")->bytes[0], std::byte{'b'});
    EXPECT_EQ(r->find("c"), nullptr);
    EXPECT_EQ(*r->get<std::string>("format"), "pt");
    EXPECT_EQ(*r->get<std::string>("more"), "1");
    EXPECT_EQ(r->metadata().size(), 2u);
    EXPECT_EQ(r->files().size(), 2u);
    r->release(r->find("a")->bytes);
  }
}

TEST(SafetensorsFolder, NamesAMissingShard) {
  Folder f;
  f.put("1.safetensors", kShardA);
  f.put(kIndex, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  f.refuses(io, {"'2.safetensors'", "not in its folder"});
  f.put(kIndex, fmt::format(R"({{"weight_map":{{"a":"1.safetensors","b":"{}"}}}})", std::string(5000, 'x')));
  f.refuses(io, {"not in its folder"});
}

TEST(SafetensorsFolder, ComparesTheIndexWithTheShards) {
  Folder f;
  f.put("1", kShardA);
  f.put("2", kShardB);
  f.put(kIndex, R"({"weight_map":{"a":"1","b":"2","c":"2"}})");
  f.refuses(bad_input, {"'c' lies in 2, but it does not"});
  f.put(kIndex, R"({"weight_map":{"a":"2","b":"1"}})");
  f.refuses(bad_input, {"says that the tensor", "but it does not"});
  f.put(kIndex, R"({"weight_map":{"a":"1","c":"2"}})");
  f.refuses(bad_input, {"'c' lies in 2, but it does not"});
  f.put("2", kShardA);
  f.put("3", kShardB);
  f.put(kIndex, R"({"weight_map":{"b":"3","c":"1","d":"2"}})");
  f.refuses(bad_input, {"shards 1 and 2 both hold the tensor 'a'", "does not name it"});
}

TEST(SafetensorsFolder, LeavesOutWhatTheIndexPutsElsewhere) {
  Folder f;
  f.put("1", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                               "ao"));
  f.put("2", kShardB);
  f.put(kIndex, R"({"weight_map":{"a":"1","b":"2"}})");
  testing::internal::CaptureStderr();
  const auto r = open_safetensors(f.dir.path());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(r->tensors().size(), 2u);
  EXPECT_EQ(r->find("b")->bytes[0], std::byte{'b'});
  EXPECT_NE(said.find("'b' in 1 (2 counts)"), said.npos) << said;
}

TEST(SafetensorsFolder, TakesWhatTheIndexDoesNotName) {
  Folder f;
  f.put("1", kShardA);
  f.put("2", safetensors_bytes(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                               "bc"));
  f.put(kIndex, R"({"weight_map":{"a":"1","b":"2"}})");
  testing::internal::CaptureStderr();
  const auto r = open_safetensors(f.dir.path());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(r->find("c")->bytes[0], std::byte{'c'});
  EXPECT_NE(said.find("'c' in 2"), said.npos) << said;
}

TEST(SafetensorsFolder, NamesADamagedShard) {
  Folder f;
  f.put("1", kShardA);
  f.put("2", kShardB.substr(0, kShardB.size() - 1));
  f.put(kIndex, R"({"weight_map":{"a":"1","b":"2"}})");
  f.refuses(bad_input, {"/2: the header describes 1 bytes"});
}

TEST(SafetensorsFolder, PrefersModelSafetensorsAndTakesALoneFile) {
  Folder f;
  f.refuses(io, {"holds neither model.safetensors nor"});
  f.put("pytorch_model.bin", "x");
  f.refuses(unsupported, {"pytorch_model.bin", "safe_serialization"});
  f.put("weights.safetensors", kShardA);
  EXPECT_NE(open_safetensors(f.dir.path())->find("a"), nullptr);
  f.put("more.safetensors", kShardB);
  f.refuses(bad_input, {"2 .safetensors files", "add the index"});
  f.put("model.safetensors", kShardB);
  f.put(kIndex, R"({"weight_map":{"a":"weights.safetensors"}})");
  testing::internal::CaptureStderr();
  EXPECT_NE(open_safetensors(f.dir.path())->find("b"), nullptr);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("model.safetensors.index.json"), std::string::npos);
}

}  // namespace
}  // namespace kerf::test
