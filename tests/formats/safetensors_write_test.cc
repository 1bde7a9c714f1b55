#include "formats/container.h"

#include <sys/resource.h>

#include <csignal>

#include "core/dtype.h"
#include "tests/formats/writing.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using enum ErrorKind;

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

}  // namespace
}  // namespace kerf::test
