#include "formats/imatrix.h"

#include <cmath>
#include <limits>

#include "tests/formats/allocation_meter.h"
#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

using enum ErrorKind;

Imatrix example() {
  return {.entries = {{"blk.0.attn_q.weight", {{1.5f, 0.0f, 3.25f}, 512}}, {"blk.0.ffn_down.weight", {{7.0f}, 512}}},
          .chunks = 2,
          .chunk_tokens = 256,
          .datasets = {"a.txt", "ä.txt"}};
}

Imatrix read(const std::string& bytes) {
  TempDir dir;
  put_file(dir / "m", bytes);
  return read_imatrix(dir / "m");
}
void refuses(ErrorKind kind, std::initializer_list<std::string_view> words, const std::string& bytes) {
  expect_error(kind, words, [&] { read(bytes); });
}

TEST(Imatrix, ComesBackAsItWasWritten) {
  TempDir dir;
  write_imatrix(dir / "m.gguf", example(), ImatrixFormat::gguf);
  EXPECT_EQ(read_imatrix(dir / "m.gguf"), example());
  write_imatrix(dir / "m.dat", example(), ImatrixFormat::legacy);
  const Imatrix legacy = read_imatrix(dir / "m.dat");
  ASSERT_EQ(legacy.entries.size(), 2u);
  const ImatrixEntry& e = legacy.entries.at("blk.0.attn_q.weight");
  EXPECT_EQ(e.count, 2) << "512 tokens are two calls of 256";
  for (size_t c = 0; c < 3; ++c) EXPECT_EQ(e.sums[c] / 2, example().entries.at("blk.0.attn_q.weight").sums[c] / 512);
  EXPECT_EQ(legacy.chunks, 2);
  EXPECT_EQ(legacy.datasets, std::vector<std::string>{"ä.txt"});
}

std::string text(std::string_view s) { return raw(static_cast<int32_t>(s.size())) + std::string(s); }
std::string entry(std::string_view name, int32_t calls, std::initializer_list<float> sums) {
  std::string s = text(name) + raw(calls) + raw(static_cast<int32_t>(sums.size()));
  for (const float f : sums) s += raw(f);
  return s;
}

TEST(LegacyImatrix, MayEndAfterTheEntries) {
  const Imatrix m = read(raw(1) + entry("a", 3, {1, 2}));
  EXPECT_EQ(m.entries.at("a"), (ImatrixEntry{{1, 2}, 3}));
  EXPECT_EQ(m.chunks, 0);
  EXPECT_EQ(read(raw(1) + entry("a", 3, {1, 2}) + raw(9)).chunks, 9);
}

TEST(LegacyImatrix, IsRefusedWhenItIsCutShortAnywhere) {
  const std::string whole = raw(2) + entry("a", 3, {1, 2}) + entry("b", 3, {1, 2}) + raw(9) + text("t");
  const size_t entries = whole.size() - 4 - 4 - 1;
  for (size_t n = 0; n < whole.size(); ++n) {
    if (n == entries || n == entries + 4) continue;  // without the optional end
    expect_error(bad_input, {}, [&] { read(whole.substr(0, n)); });
  }
  refuses(bad_input, {"belong to nothing"}, whole + "x");
}

TEST(LegacyImatrix, IsNoPageOfAServer) {
  for (const char* page : {"<html>gone</html>", " \n<!DOCTYPE html>"})
    refuses(bad_input, {"is no importance matrix, but an HTML page"}, std::string(page));
}

TEST(LegacyImatrix, ClaimsNoMoreThanTheFileHolds) {
  AllocationMeter meter;
  for (const int32_t n : {0, -1, 1 << 30, std::numeric_limits<int32_t>::max()}) {
    refuses(bad_input, {"no importance matrix"}, raw(n) + std::string(100, '\0'));
    refuses(bad_input, {}, raw(1) + raw(n) + std::string(100, 'x'));
    refuses(bad_input, {"'a'", fmt::format("claims {} channels", n)},
            raw(1) + text("a") + raw(1) + raw(n) + std::string(100, '\0'));
  }
  EXPECT_LT(meter.total(), 200'000u);
}

TEST(Imatrix, IsRefusedWhenItsNumbersAreNoSumsOfSquares) {
  for (const float bad : {-1.0f, std::nanf(""), std::numeric_limits<float>::infinity()})
    refuses(bad_input, {"'a'", "channel 1"}, raw(1) + entry("a", 3, {1, bad}));
  refuses(bad_input, {"'a'", "tokens"}, raw(1) + entry("a", -5, {1}));
  EXPECT_EQ(read(raw(1) + entry("a", 0, {0})).entries.at("a").count, 0) << "no token came to it";
  refuses(bad_input, {"'a' twice"}, raw(2) + entry("a", 1, {1}) + entry("a", 1, {1}));
  refuses(bad_input, {"UTF-8"}, raw(1) + entry("\xff", 1, {1}));
  refuses(bad_input, {"no name"}, raw(1) + entry("", 1, {1}));
}

TEST(GgufImatrix, IsRefusedWhenItIsSomethingElse) {
  constexpr uint32_t kF32 = 0, kF16 = 1;
  const auto file = [](uint32_t type, std::string_view counts_name, uint64_t counts, float count) {
    GgufFile f;
    f.tensor("a.in_sum2", {8, 1}, type, 0).tensor(counts_name, {1, counts}, kF32, 32);
    f.data = std::string(type == kF16 ? 16 : 32, '\0');
    f.data.resize(32);
    for (uint64_t i = 0; i < counts; ++i) f.data += raw(count);
    return f.bytes();
  };
  EXPECT_EQ(read(file(kF32, "a.counts", 1, 4)).entries.at("a").count, 4);
  refuses(bad_input, {"no counts"}, file(kF32, "b.counts", 1, 4));
  refuses(bad_input, {"F16"}, file(kF16, "a.counts", 1, 4));
  refuses(unsupported, {"expert"}, file(kF32, "a.counts", 3, 4));
  for (const float bad : {-1.0f, std::nanf(""), 1e30f, std::numeric_limits<float>::infinity()})
    refuses(bad_input, {"number of tokens"}, file(kF32, "a.counts", 1, bad));
  EXPECT_EQ(read(file(kF32, "a.counts", 1, 0)).entries.at("a").count, 0) << "no token came to it";
  refuses(bad_input, {"no importance matrix"}, GgufFile{}.bytes());
}

}  // namespace
}  // namespace kerf::test
