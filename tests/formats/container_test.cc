// What every container in the table must do, and how one is chosen.
#include "formats/container.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <thread>

#include "core/dtype.h"
#include "formats/ggml_type.h"
#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using enum ErrorKind;

std::vector<std::string> names_in(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(dir)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Types that every container spells alike, with sizes that make padding matter.
FilePlan plan() {
  return {.tensors = {{"b.weight", "BF16", {3, 5}, 30},
                      {"a", "F32", {7}, 28},
                      {"none", "F32", {0, 3}, 0},
                      {"big \"quoted\" ä", "F32", {300, 70}, 84000},
                      {"shape", "I64", {2}, 16},
                      {"c", "I8", {1, 1, 3}, 3}},
          .metadata = {{"format", std::string("pt")}, {"ä\n", std::string("\"")}}};
}

std::string content(size_t tensor, size_t bytes) {
  std::string s(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) s[i] = static_cast<char>(i * 31 + tensor * 7 + i / 251);
  return s;
}

void fill(Writer& w, const FilePlan& p) {
  for (size_t i = 0; i < p.tensors.size(); ++i) w.write(i, 0, as_bytes(content(i, p.tensors[i].bytes)));
}

class EveryContainer : public testing::TestWithParam<const Container*> {
 protected:
  const Container& container() const { return *GetParam(); }
  fs::path file() const { return dir_ / fs::path("model." + std::string(container().name)); }
  TempDir dir_;
};

TEST_P(EveryContainer, ReadsWhatItWrote) {
  const FilePlan p = plan();
  const auto w = container().create(file(), p);
  // Backwards, in pieces.
  for (size_t i = p.tensors.size(); i-- > 0;) {
    const std::string all = content(i, p.tensors[i].bytes);
    for (size_t end = all.size(); end > 0;) {
      const size_t begin = end - std::min<size_t>(end, 1000);
      w->write(i, begin, as_bytes(std::string_view(all).substr(begin, end - begin)));
      end = begin;
    }
  }
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string() + ".partial"});
  EXPECT_EQ(w->commit(), std::vector<fs::path>{file()});
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
  EXPECT_EQ(w->total_bytes(), fs::file_size(file()));

  const auto r = open_container(file());
  ASSERT_EQ(r->tensors().size(), p.tensors.size());
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    const StoredTensor* t = r->find(p.tensors[i].name);
    ASSERT_NE(t, nullptr) << p.tensors[i].name;
    EXPECT_EQ(t->type, p.tensors[i].type);
    EXPECT_EQ(t->shape, p.tensors[i].shape);
    EXPECT_EQ(text_of(t->bytes), content(i, p.tensors[i].bytes));
  }
  EXPECT_EQ(r->metadata(), p.metadata);
  EXPECT_EQ(r->path(), file());
}

TEST_P(EveryContainer, WritesTheSameBytesFromAnyThreadInAnyOrder) {
  const FilePlan p = plan();
  const auto bytes_after = [&](auto&& writes) {
    const auto w = container().create(file(), p);
    writes(*w);
    w->commit();
    return read_text(file());
  };
  const std::string one = bytes_after([&](Writer& w) { fill(w, p); });
  const std::string many = bytes_after([&](Writer& w) {
    std::vector<std::thread> threads;
    for (size_t k = 0; k < 4; ++k)
      threads.emplace_back([&, k] {
        for (size_t i = p.tensors.size(); i-- > 0;) {
          const std::string all = content(i, p.tensors[i].bytes);
          for (size_t at = k * 100; at < all.size(); at += 400)
            w.write(i, at, as_bytes(std::string_view(all).substr(at, 100)));
        }
      });
    for (std::thread& t : threads) t.join();
  });
  EXPECT_EQ(one, many);
}

TEST_P(EveryContainer, HoldsNoTensorsAtAll) {
  container().create(file(), {})->commit();
  EXPECT_TRUE(open_container(file())->tensors().empty());
}

TEST_P(EveryContainer, RefusesToCommitAnIncompleteTensor) {
  put_file(file(), "old");
  const FilePlan p = plan();
  {
    const auto w = container().create(file(), p);
    fill(*w, p);
    expect_error(internal, {"'a'", "has 28"}, [&] { w->write(1, 20, as_bytes("123456789")); });
    expect_error(internal, {"'a'", "has 28"}, [&] { w->write(1, ~uint64_t{0}, as_bytes("12")); });
    expect_error(internal, {"tensor 6"}, [&] { w->write(6, 0, as_bytes("1")); });
    EXPECT_EQ(read_text(file()), "old");
  }
  {
    const auto w = container().create(file(), p);
    for (size_t i = 0; i + 1 < p.tensors.size(); ++i) w->write(i, 0, as_bytes(content(i, p.tensors[i].bytes)));
    w->write(5, 0, as_bytes("12"));
    expect_error(internal, {"2 of the 3 bytes", "'c'"}, [&] { w->commit(); });
  }
  EXPECT_EQ(read_text(file()), "old");
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
}

TEST_P(EveryContainer, RefusesPlansThatContradictThemselves) {
  const auto refuses = [&](ErrorKind kind, std::initializer_list<std::string_view> words, FilePlan p) {
    expect_error(kind, words, [&] { container().create(file(), p); });
    EXPECT_TRUE(names_in(dir_.path()).empty());
  };
  refuses(internal, {"'a'", "needs 8 bytes and was planned with 9"}, {.tensors = {{"a", "F32", {2}, 9}}});
  refuses(internal, {"'a'", "twice"}, {.tensors = {{"a", "F32", {0}, 0}, {"a", "F32", {0}, 0}}});
  refuses(internal, {"'a'", "'F33'"}, {.tensors = {{"a", "F33", {0}, 0}}});
  refuses(internal, {"'k'", "twice"}, {.metadata = {{"k", std::string()}, {"k", std::string()}}});
  refuses(bad_input, {"not UTF-8"}, {.tensors = {{"\xff", "F32", {0}, 0}}});
  refuses(bad_input, {"not UTF-8"}, {.metadata = {{"k", std::string("\xff")}}});
  refuses(bad_input, {"not UTF-8"}, {.metadata = {{"\xff", std::string()}}});
  refuses(bad_input, {"'a'", "overflows"}, {.tensors = {{"a", "F32", {int64_t{1} << 62, 4}, 0}}});
  refuses(bad_input, {"'a'", "negative dimension -1"}, {.tensors = {{"a", "F32", {-1}, 0}}});
}

TEST_P(EveryContainer, NamesAFolderThatIsNotThere) {
  expect_error(io, {"nowhere"}, [&] { container().create(dir_ / "nowhere" / file().filename(), plan()); });
}

// The limit hits the header, the tensors, the padding at the end: whatever fails, the old file stays and no other.
TEST_P(EveryContainer, LeavesTheOldFileWhenAWriteFails) {
  std::signal(SIGXFSZ, SIG_IGN);
  const FilePlan p = plan();
  put_file(file(), "old");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const uint64_t whole = [&] { return container().create(file(), p)->total_bytes(); }();
  for (const uint64_t limit : {uint64_t{0}, uint64_t{10}, uint64_t{600}, uint64_t{5000}, whole / 2, whole - 1}) {
    const rlimit small{.rlim_cur = limit, .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_error(io, {file().string(), "File too large"}, [&] {
      const auto w = container().create(file(), p);
      fill(*w, p);
      w->commit();
    });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(read_text(file()), "old");
    EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{file().filename().string()});
  }
  const rlimit enough{.rlim_cur = whole, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &enough), 0);
  const auto w = container().create(file(), p);
  fill(*w, p);
  w->commit();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(open_container(file())->tensors().size(), p.tensors.size());
}

INSTANTIATE_TEST_SUITE_P(, EveryContainer, testing::ValuesIn(all_containers().begin(), all_containers().end()),
                         [](const auto& i) { return std::string(i.param->name); });

// safetensors: what the format asks for beyond that.

std::string header_of(const fs::path& file) {
  const std::string all = read_text(file);
  uint64_t n = 0;
  std::memcpy(&n, all.data(), 8);
  return all.substr(8, n);
}

TEST(SafetensorsWriter, AlignsTheHeaderTo8BytesWithSpacesForEveryLength) {
  TempDir dir;
  for (size_t n = 1; n <= 16; ++n) {
    find_container("safetensors").create(dir.path(), {.tensors = {{std::string(n, 'x'), "U8", {0}, 0}}})->commit();
    const std::string header = header_of(dir / "model.safetensors");
    EXPECT_EQ(header.size() % 8, 0u);
    EXPECT_TRUE(header.substr(header.rfind('}') + 1).find_first_not_of(' ') == std::string::npos);
  }
}

TEST(SafetensorsWriter, AlignsEveryTensorToItsElements) {
  TempDir dir;
  const FilePlan p = {.tensors = {{"a", "U8", {3}, 3},
                                  {"b", "I64", {1}, 8},
                                  {"c", "BF16", {1}, 2},
                                  {"d", "F32", {1}, 4},
                                  {"e", "U8", {1}, 1},
                                  {"f", "F4", {2}, 1}}};
  const auto w = find_container("safetensors").create(dir.path(), p);
  fill(*w, p);
  w->commit();
  const auto r = open_container(dir.path());
  const std::byte* start = r->find("b")->bytes.data();
  for (const StoredTensor& t : r->tensors())
    EXPECT_EQ((t.bytes.data() - start) % std::max(1, bits_of(*dtype_from_name(t.type)) / 8), 0) << t.name;
  EXPECT_EQ(header_of(dir / "model.safetensors").substr(0, 57),
            R"({"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"d")");
}

TEST(SafetensorsWriter, CutsShardsAtTheSizeAndIndexesThem) {
  TempDir dir;
  FilePlan p = {.metadata = {{"format", std::string("pt")}}, .shard_bytes = 100};
  for (const uint64_t n : {60, 40, 1, 250, 99, 2}) {  // | 60 40 | 1 | 250 | 99 | 2
    p.tensors.push_back({fmt::format("t{}", 5 - p.tensors.size()), "U8", {static_cast<int64_t>(n)}, n});
  }
  const auto w = find_container("safetensors").create(dir.path(), p);
  fill(*w, p);
  const auto files = w->commit();
  ASSERT_EQ(files.size(), 6u);
  EXPECT_EQ(files[0].filename(), "model-00001-of-00005.safetensors");
  EXPECT_EQ(files[4].filename(), "model-00005-of-00005.safetensors");
  EXPECT_EQ(files[5].filename(), "model.safetensors.index.json");
  EXPECT_EQ(read_text(files[5]), R"({
  "metadata": {
    "total_size": 452
  },
  "weight_map": {
    "t0": "model-00005-of-00005.safetensors",
    "t1": "model-00004-of-00005.safetensors",
    "t2": "model-00003-of-00005.safetensors",
    "t3": "model-00002-of-00005.safetensors",
    "t4": "model-00001-of-00005.safetensors",
    "t5": "model-00001-of-00005.safetensors"
  }
}
)");
  uint64_t bytes = 0;
  for (const auto& f : files) bytes += fs::file_size(f);
  EXPECT_EQ(bytes, w->total_bytes());
  const auto r = open_container(dir.path());
  for (size_t i = 0; i < p.tensors.size(); ++i)
    EXPECT_EQ(text_of(r->find(p.tensors[i].name)->bytes), content(i, p.tensors[i].bytes));
  EXPECT_EQ(names_in(dir.path()).size(), 6u);
}

TEST(SafetensorsWriter, WritesOneFileWhenOneShardIsEnough) {
  TempDir dir;
  FilePlan p = plan();
  p.shard_bytes = 1 << 20;
  const auto w = find_container("safetensors").create(dir.path(), p);
  fill(*w, p);
  EXPECT_EQ(w->commit(), std::vector<fs::path>{dir / "model.safetensors"});
}

TEST(SafetensorsWriter, LeavesNoShardWhenOneFails) {
  std::signal(SIGXFSZ, SIG_IGN);
  TempDir dir;
  const FilePlan p = {.tensors = {{"a", "U8", {10}, 10}, {"b", "U8", {5000}, 5000}}, .shard_bytes = 100};
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 3000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(io, {"File too large"}, [&] {
    const auto w = find_container("safetensors").create(dir.path(), p);
    fill(*w, p);
    w->commit();
  });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(names_in(dir.path()).empty());
}

TEST(SafetensorsWriter, RefusesWhatTheFormatCannotHold) {
  TempDir dir;
  const Container& c = find_container("safetensors");
  expect_error(internal, {"'k'", "type u32", "strings"}, [&] {
    c.create(dir.path(), {.metadata = {{"k", uint32_t{1}}}});
  });
  expect_error(internal, {"'__metadata__'"}, [&] {
    c.create(dir.path(), {.tensors = {{"__metadata__", "U8", {0}, 0}}});
  });
  expect_error(unsupported, {"12 bits"}, [&] { c.create(dir.path(), {.tensors = {{"a", "F4", {3}, 1}}}); });
  expect_error(internal, {"ends in .safetensors"}, [&] { c.create(dir / "x.bin", {}); });
  EXPECT_TRUE(names_in(dir.path()).empty());
}

// GGUF.

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
  refuses(unsupported, {"one file"}, {.shard_bytes = 10});
}

// Choosing.

TEST(OpenContainer, GoesByContentWhereTheNameSaysNothing) {
  TempDir dir;
  put_file(dir / "a", GgufFile().bytes());
  put_file(dir / "b", safetensors_bytes("{}", ""));
  EXPECT_TRUE(open_container(dir / "a")->tensors().empty());
  EXPECT_TRUE(open_container(dir / "b")->tensors().empty());
}

TEST(OpenContainer, LetsTheContainerOfTheNameExplainDamage) {
  TempDir dir;
  put_file(dir / "a.gguf", "");
  expect_error(bad_input, {"a.gguf", "cut short"}, [&] { open_container(dir / "a.gguf"); });
  put_file(dir / "a.safetensors", "");
  expect_error(bad_input, {"a.safetensors has 0 bytes"}, [&] { open_container(dir / "a.safetensors"); });
}

TEST(OpenContainer, SaysWhatItKnowsForAnythingElse) {
  TempDir dir;
  expect_error(io, {"no file or folder", "nowhere"}, [&] { open_container(dir / "nowhere"); });
  expect_error(bad_input, {"is neither a GGUF file nor a safetensors"}, [&] { open_container(dir.path()); });
  for (const char* text : {"", "x", "PK\3\4 something else", "{\"a\": 1}"}) {
    put_file(dir / "x.bin", text);
    expect_error(bad_input, {"x.bin is neither"}, [&] { open_container(dir / "x.bin"); });
  }
  expect_error(usage, {"'zip'", "gguf, safetensors"}, [] { find_container("zip"); });
  expect_error(io, {}, [] { open_container("/dev/null/x"); });
  expect_error(bad_input, {}, [] { open_container("/dev/full"); });
}

}  // namespace
}  // namespace kerf::test
