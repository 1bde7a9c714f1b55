// Plain numbers of a file as a source of float32 rows.
#include <cmath>
#include <fstream>
#include <numeric>
#include <thread>

#include "formats/container.h"
#include "formats/safetensors.h"
#include "tests/formats/hostile.h"
#include "verify/artifact.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using enum ErrorKind;

// Resident bytes of file mappings, from the kernel's own book; 0 where there is none.
uint64_t resident_file_bytes() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("RssFile:")) return std::stoull(line.substr(8)) * 1024;
  return 0;
}

std::unique_ptr<TensorSource> plain_weights(const fs::path& path) {
  std::unique_ptr<Reader> reader = open_safetensors(path);
  std::vector<StoredWeight> weights;
  for (const StoredTensor& t : reader->tensors())
    weights.push_back({.info = {.name = t.name, .dtype = *dtype_from_name(t.type), .shape = t.shape},
                       .file_name = t.name,
                       .type = t.type,
                       .scheme = "",
                       .bytes = t.bytes});
  return std::make_unique<StoredWeights>(std::move(reader), std::move(weights));
}

TEST(StoredWeights, ReadsRowsOfEveryNumericDtypeAsFloat32) {
  TempDir dir;
  struct Case {
    Dtype dtype;
    std::vector<float> values;  // exact in the dtype
  };
  const std::vector<Case> cases = {{Dtype::f32, {1.1f, -2, 3e30f, 0, 5, 6}},
                                   {Dtype::bf16, {1.5f, -2, 3, 0, 256, 6}},
                                   {Dtype::f16, {1.5f, -2, 65504, 0, 0.25f, 6}},
                                   {Dtype::f8_e4m3, {1.5f, -2, 448, 0, 0.25f, 6}},
                                   {Dtype::f8_e5m2, {1.5f, -2, 57344, 0, 0.25f, 6}}};
  FilePlan plan;
  for (const Case& c : cases)
    plan.tensors.push_back({std::string(name_of(c.dtype)),
                            std::string(name_of(c.dtype)),
                            {3, 2},
                            static_cast<uint64_t>(bytes_of(c.dtype, 6))});
  const auto w = create_safetensors(dir.path(), plan);
  for (size_t i = 0; i < cases.size(); ++i) {
    std::vector<std::byte> bytes(plan.tensors[i].bytes);
    from_f32(cases[i].dtype, cases[i].values, bytes);
    w->write(i, 0, bytes);
  }
  w->commit();
  const auto source = plain_weights(dir.path());
  EXPECT_EQ(source->tensors().size(), cases.size());
  for (const Case& c : cases) {
    const TensorInfo* t = source->find(name_of(c.dtype));
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(t->dtype, c.dtype);
    EXPECT_EQ(t->rows(), 3);
    EXPECT_EQ(t->cols(), 2);
    for (int64_t row = 0; row < 3; ++row)
      for (size_t n = 0; n + static_cast<size_t>(row) <= 3; ++n) {
        std::vector<float> out(2 * n, -1);
        source->read(*t, row, out);
        EXPECT_EQ(out, std::vector<float>(c.values.begin() + 2 * row,
                                          c.values.begin() + 2 * row + static_cast<int64_t>(out.size())));
      }
  }
}

TEST(StoredWeights, ListsEveryDtypeAndRefusesToReadSome) {
  TempDir dir;
  const auto json =
      R"({"f4":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"c64":{"dtype":"C64","shape":[1],"data_offsets":[1,9]},)"
      R"("i64":{"dtype":"I64","shape":[1],"data_offsets":[9,17]},"b":{"dtype":"BOOL","shape":[],"data_offsets":[17,18]},)"
      R"("none":{"dtype":"BF16","shape":[0,4],"data_offsets":[18,18]},"flat":{"dtype":"BF16","shape":[4,0],"data_offsets":[18,18]}})";
  put_file(dir / "x.safetensors", safetensors_bytes(json, std::string(18, '\1')));
  const auto source = plain_weights(dir / "x.safetensors");
  EXPECT_EQ(source->tensors().size(), 6u);
  std::vector<float> out(2);
  expect_error(unsupported, {"'f4'", "F4"}, [&] { source->read(*source->find("f4"), 0, out); });
  for (const char* name : {"c64", "i64"})
    expect_error(unsupported, {}, [&] { source->read(*source->find(name), 0, std::span(out).first(1)); });
  source->read(*source->find("b"), 0, std::span(out).first(1));
  EXPECT_EQ(out[0], 1.f);
  source->read(*source->find("none"), 0, {});
  source->read(*source->find("flat"), 3, {});
}

TEST(StoredWeights, RefusesRowsThatAreNotThere) {
  TempDir dir;
  put_file(
      dir / "model.safetensors",
      safetensors_bytes(
          R"({"w":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]},"n":{"dtype":"U8","shape":[2,0],"data_offsets":[6,6]}})",
          "123456"));
  const auto s = plain_weights(dir.path());
  const TensorInfo& t = *s->find("w");
  std::vector<float> out(9);
  const auto refuses = [&](const TensorInfo& info, int64_t row, size_t n) {
    expect_error(internal, {}, [&] { s->read(info, row, std::span(out).first(n)); });
  };
  refuses(t, 0, 9);
  refuses(t, 1, 6);
  refuses(t, 2, 3);
  refuses(t, -1, 3);
  refuses(t, 0, 4);
  refuses(*s->find("n"), 0, 1);
  refuses({.name = "other", .shape = {1}}, 0, 1);
  s->read(t, 2, {});
  EXPECT_EQ(s->find("W"), nullptr);
}

TEST(StoredWeights, ReadsTheEmbeddedModel) {
  const auto s = plain_weights(example_dir());
  const TensorInfo* t = s->find("model.embed_tokens.weight");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->shape, (std::vector<int64_t>{4096, 256}));
  std::vector<float> all(static_cast<size_t>(t->elements())), row(256);
  s->read(*t, 0, all);
  for (float x : all) ASSERT_TRUE(std::isfinite(x));
  s->read(*t, 4095, row);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), all.end() - 256));
  EXPECT_NE(std::accumulate(row.begin(), row.end(), 0.f), 0.f);
}

TEST(StoredWeights, ReadsFromManyThreadsAtOnce) {
  const auto s = plain_weights(example_dir());
  const TensorInfo& t = *s->find("model.embed_tokens.weight");
  std::vector<float> whole(static_cast<size_t>(t.elements()));
  s->read(t, 0, whole);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t k = 0; k < 4; ++k)
    threads.emplace_back([&, k] {
      std::vector<float> out(64 * 1024);  // 256 rows: large enough to be released behind the reader
      for (int64_t row = 0; row + 256 <= t.rows(); row += 256) {
        s->read(t, row, out);
        wrong[k] += !std::equal(out.begin(), out.end(), whole.begin() + row * 256);
      }
    });
  for (std::thread& th : threads) th.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(StoredWeights, LetsGoOfThePagesBehindIt) {
  TempDir dir;
  constexpr int64_t kRows = 4096, kCols = 4096;  // 64 MiB of float32
  const FilePlan plan = {.tensors = {{"w", "F32", {kRows, kCols}, kRows * kCols * 4}}};
  {
    const auto w = create_safetensors(dir.path(), plan);
    const std::vector<std::byte> row(kCols * 4, std::byte{0x3f});
    for (uint64_t r = 0; r < kRows; ++r) w->write(0, r * row.size(), row);
    w->commit();
  }
  const auto s = plain_weights(dir.path());
  const uint64_t before = resident_file_bytes();
  if (before == 0) GTEST_SKIP() << "this system does not say how much of a file is resident";
  std::vector<float> out(64 * kCols);
  uint64_t most = 0;
  for (int64_t r = 0; r < kRows; r += 64) {
    s->read(*s->find("w"), r, out);
    most = std::max(most, resident_file_bytes());
  }
  // A piece is 4 MiB; the rest is room for the program's own pages.
  EXPECT_LT(most, before + (16 << 20));
}

}  // namespace
}  // namespace kerf::test
