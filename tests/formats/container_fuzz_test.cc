// Damage without a plan: every truncation, random byte flips, random nesting. Whatever the bytes, a reader either gives
// a consistent view of them or throws an Error, and allocates no more than the file could justify.
#include <random>

#include "formats/container.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tests/formats/allocation_meter.h"
#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;

// The densest thing in a file is a tensor info of 24 bytes or a JSON tensor of some 50: either becomes a record, a name
// and a place in three hash tables, about 500 bytes. Growing vectors are counted at every size they had (twice the
// last), sentences and paths are the constant.
size_t justified(size_t file_bytes) { return 32 * 1024 + 64 * file_bytes; }

struct Outcome {
  bool opened = false;
  ErrorKind kind = ErrorKind::internal;
};

// Opens and looks at everything; anything but an Error of a documented kind fails the test.
Outcome look(const fs::path& path, size_t file_bytes) {
  Outcome out;
  AllocationMeter meter;
  try {
    const auto r = open_container(path);
    uint64_t sum = 0, bytes = 0;
    for (const StoredTensor& t : r->tensors()) {
      EXPECT_EQ(r->find(t.name), &t);
      for (std::byte b : t.bytes) sum += static_cast<uint64_t>(b);
      bytes += t.bytes.size();
    }
    EXPECT_LE(bytes, file_bytes);
    for (const auto& [key, value] : r->metadata()) sum += type_name_of(value).size() + key.size();
    EXPECT_NE(sum, ~uint64_t{0});
    out.opened = true;
  } catch (const Error& e) {
    out.kind = e.kind();
    EXPECT_TRUE(e.kind() == ErrorKind::bad_input || e.kind() == ErrorKind::unsupported || e.kind() == ErrorKind::io)
        << e.what();
    EXPECT_LT(std::strlen(e.what()), 2000u);
  }
  EXPECT_LT(meter.total(), justified(file_bytes));
  return out;
}

struct Sample {
  std::string name;  // of the file that is opened
  std::string bytes;
};

std::string safetensors_sample() {
  return safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"w.weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("none":{"dtype":"F32","shape":[0],"data_offsets":[12,12]},"b\u00e4":{"dtype":"F4","shape":[4],"data_offsets":[12,14]}})",
      "0123456789abcd");
}

std::string gguf_sample() {
  GgufFile f;
  f.key("general.architecture", 8, gguf_string("llama"))
      .key("n", 4, raw(uint32_t{7}))
      .key("tokens", 9, raw(uint32_t{8}) + raw(uint64_t{3}) + gguf_string("<s>") + gguf_string("") + gguf_string("ä"))
      .key("scores", 9, raw(uint32_t{6}) + raw(uint64_t{2}) + raw(1.f) + raw(2.f))
      .key("yes", 7, "\1")
      .tensor("blk.0.w", {32, 2}, 8, 0)
      .tensor("norm", {5}, 0, 96);
  f.data = std::string(116, 'd');
  return f.bytes();
}

std::vector<Sample> samples() { return {{"f.safetensors", safetensors_sample()}, {"f.gguf", gguf_sample()}}; }

TEST(Damage, EveryTruncationIsRefused) {
  TempDir dir;
  for (const Sample& s : samples()) {
    for (size_t n = 0; n <= s.bytes.size(); ++n) {
      SCOPED_TRACE(fmt::format("{} cut to {} bytes", s.name, n));
      put_file(dir / s.name, s.bytes.substr(0, n));
      const Outcome out = look(dir / s.name, n);
      EXPECT_EQ(out.opened, n == s.bytes.size());
      if (!out.opened) {
        EXPECT_EQ(out.kind, ErrorKind::bad_input);
      }
    }
  }
}

TEST(Damage, EveryByteFlippedOneWayAtATimeIsSurvived) {
  TempDir dir;
  for (const Sample& s : samples())
    for (size_t i = 0; i < s.bytes.size(); ++i)
      for (const int flip : {0x01, 0x20, 0x80, 0xFF}) {
        SCOPED_TRACE(fmt::format("{} byte {} ^ {:#x}", s.name, i, flip));
        std::string bytes = s.bytes;
        bytes[i] = static_cast<char>(bytes[i] ^ flip);
        put_file(dir / s.name, bytes);
        look(dir / s.name, bytes.size());
      }
}

TEST(Damage, RandomFlipsInsertionsAndDeletionsAreSurvived) {
  TempDir dir;
  std::mt19937_64 random(20260001);
  const auto below = [&](uint64_t n) { return static_cast<size_t>(random() % n); };
  for (const Sample& s : samples()) {
    int opened = 0;
    for (int round = 0; round < 1500; ++round) {
      std::string bytes = s.bytes;
      for (size_t k = 1 + below(6); k-- > 0 && !bytes.empty();) {
        const size_t at = below(bytes.size());
        switch (below(5)) {
          case 0:
            bytes[at] = static_cast<char>(random());
            break;
          case 1:
            bytes.insert(at, 1 + below(9), static_cast<char>(random()));
            break;
          case 2:
            bytes.erase(at, 1 + below(9));
            break;
          case 3:
            bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
            break;
          default: {  // a number that means trouble, wherever it lands
            static constexpr uint64_t kTrouble[] = {0, 1, 0x7fffffff, 0xffffffff, ~uint64_t{0}, uint64_t{1} << 63};
            const std::string n = raw(kTrouble[below(std::size(kTrouble))]);
            bytes.replace(at, std::min<size_t>(8, bytes.size() - at),
                          n.substr(0, std::min<size_t>(8, bytes.size() - at)));
          }
        }
      }
      SCOPED_TRACE(fmt::format("{} round {}", s.name, round));
      put_file(dir / s.name, bytes);
      opened += look(dir / s.name, bytes.size()).opened;
    }
    EXPECT_GT(opened, 0) << "the damage never spared a " << s.name << ": it tests too little";
    EXPECT_LT(opened, 1500);
  }
}

// JSON that is grammatical and means nothing.
std::string random_json(std::mt19937_64& random, int depth) {
  static constexpr const char* kLeaves[] = {"0",    "-1",   "1e9",     "18446744073709551616", "true",
                                            "null", "\"\"", "\"F32\"", "\"\\u0000\"",          "[0,4]",
                                            "{}",   "[]",   "4"};
  static constexpr const char* kKeys[] = {"dtype", "shape",      "data_offsets", "__metadata__",
                                          "a",     "weight_map", "\\n",          ""};
  const uint64_t r = random();
  if (depth == 0 || r % 4 == 0) return kLeaves[random() % std::size(kLeaves)];
  std::string s;
  const uint64_t n = random() % 4;
  for (uint64_t i = 0; i < n; ++i) {
    if (i != 0) s += ",";
    if (r % 4 == 1) {
      s += random_json(random, depth - 1);
    } else {
      s += fmt::format("\"{}\":{}", kKeys[random() % std::size(kKeys)], random_json(random, depth - 1));
    }
  }
  return r % 4 == 1 ? "[" + s + "]" : "{" + s + "}";
}

TEST(Damage, RandomJsonIsSurvivedInHeaderAndIndex) {
  TempDir dir;
  std::mt19937_64 random(7);
  for (int round = 0; round < 1500; ++round) {
    const std::string json = random_json(random, 6);
    SCOPED_TRACE(json);
    const std::string bytes = safetensors_bytes(json, "1234");
    put_file(dir / "f.safetensors", bytes);
    look(dir / "f.safetensors", bytes.size());
    put_file(dir / "f.safetensors.index.json", json);
    look(dir / "f.safetensors.index.json", json.size());
  }
}

// Arrays of strings are what real GGUF files are full of: they must cost little more than the file has.
TEST(Damage, AVocabularyCostsAFewTimesItsBytes) {
  TempDir dir;
  std::string words;
  for (int i = 0; i < 100'000; ++i) words += gguf_string(std::to_string(i));
  const std::string bytes = GgufFile().key("t", 9, raw(uint32_t{8}) + raw(uint64_t{100'000}) + words).bytes();
  put_file(dir / "f.gguf", bytes);
  AllocationMeter meter;
  const auto r = open_container(dir / "f.gguf");
  EXPECT_EQ(r->get_array<std::string>("t")->size(), 100'000u);
  EXPECT_LT(meter.total(), 4 * bytes.size());  // a std::string has 32 bytes where the file has at least 8
}

}  // namespace
}  // namespace kerf::test
