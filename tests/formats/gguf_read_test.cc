#include "formats/gguf.h"

#include "formats/ggml_type.h"
#include "tests/formats/allocation_meter.h"
#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

using enum ErrorKind;
enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kStr, kArr, kU64, kI64, kF64 };

// The mapping outlives the file's name.
std::unique_ptr<Reader> open(const std::string& bytes) {
  TempDir dir;
  put_file(dir / "f.gguf", bytes);
  return open_gguf(dir / "f.gguf");
}
void refuses(ErrorKind kind, std::initializer_list<std::string_view> words, const std::string& bytes) {
  expect_error(kind, words, [&] { open(bytes); });
}
void refuses(ErrorKind kind, std::initializer_list<std::string_view> words, const GgufFile& file) {
  refuses(kind, words, file.bytes());
}
GgufFile file() { return {}; }
std::string array_of(uint32_t type, uint64_t count, std::string_view elements) {
  return raw(type) + raw(count) + std::string(elements);
}

TEST(Gguf, ReadsKeysOfEveryType) {
  const auto o = open(file()
                          .key("u8", kU8, raw(uint8_t{200}))
                          .key("i8", kI8, raw(int8_t{-3}))
                          .key("u16", kU16, raw(uint16_t{60000}))
                          .key("i16", kI16, raw(int16_t{-300}))
                          .key("u32", kU32, raw(uint32_t{4'000'000'000}))
                          .key("i32", kI32, raw(int32_t{-5}))
                          .key("f32", kF32, raw(1.5f))
                          .key("bool", kBool, raw(uint8_t{1}))
                          .key("str", kStr, gguf_string("añ"))
                          .key("u64", kU64, raw(~uint64_t{0}))
                          .key("i64", kI64, raw(int64_t{-7}))
                          .key("f64", kF64, raw(2.5))
                          .key("strings", kArr, array_of(kStr, 2, gguf_string("x") + gguf_string("")))
                          .key("bools", kArr, array_of(kBool, 3, std::string("\1\0\1", 3)))
                          .key("floats", kArr, array_of(kF32, 2, raw(1.f) + raw(-2.f)))
                          .key("none", kArr, array_of(kI64, 0, ""))
                          .bytes());
  const Reader& r = *o;
  EXPECT_EQ(*r.get<uint8_t>("u8"), 200);
  EXPECT_EQ(*r.get<int8_t>("i8"), -3);
  EXPECT_EQ(*r.get<uint16_t>("u16"), 60000);
  EXPECT_EQ(*r.get<int16_t>("i16"), -300);
  EXPECT_EQ(*r.get<uint32_t>("u32"), 4'000'000'000);
  EXPECT_EQ(*r.get<int32_t>("i32"), -5);
  EXPECT_EQ(*r.get<float>("f32"), 1.5f);
  EXPECT_EQ(*r.get<bool>("bool"), true);
  EXPECT_EQ(*r.get<std::string>("str"), "añ");
  EXPECT_EQ(*r.get<uint64_t>("u64"), ~uint64_t{0});
  EXPECT_EQ(*r.get<int64_t>("i64"), -7);
  EXPECT_EQ(*r.get<double>("f64"), 2.5);
  EXPECT_EQ(*r.get_array<std::string>("strings"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(*r.get_array<bool>("bools"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(*r.get_array<float>("floats"), (std::vector<float>{1.f, -2.f}));
  EXPECT_TRUE(r.get_array<int64_t>("none")->empty());
  EXPECT_EQ(r.metadata().size(), 16u);
  EXPECT_EQ(r.metadata()[0].first, "u8");

  EXPECT_EQ(r.get<uint8_t>("absent"), nullptr);
  EXPECT_EQ(r.get_array<float>("absent"), nullptr);
  EXPECT_EQ(r.get_integer("i8"), -3);
  EXPECT_EQ(r.get_integer("absent"), std::nullopt);
  EXPECT_EQ(r.get_number("f32"), 1.5);
  EXPECT_EQ(r.get_number("u8"), 200.);
  EXPECT_EQ(r.get_or<uint32_t>("absent", 9), 9u);
  expect_error(bad_input, {"'f32'", "type f32", "must be u32"}, [&] { r.get<uint32_t>("f32"); });
  expect_error(bad_input, {"'strings'", "array of string", "must be array of f32"},
               [&] { r.get_array<float>("strings"); });
  expect_error(bad_input, {"'str'", "an integer"}, [&] { r.get_integer("str"); });
  expect_error(bad_input, {"'bool'", "a number"}, [&] { r.get_number("bool"); });
  expect_error(bad_input, {"'u64'", "too large"}, [&] { r.get_integer("u64"); });
}

TEST(Gguf, ReadsTensorsSlowestDimensionFirst) {
  GgufFile f;
  f.tensor("w", {32, 3}, 8, 0).tensor("n", {5}, 0, 128).tensor("none", {0}, 0, 160).tensor("s", {}, 0, 160);
  f.data = std::string(164, 'x');
  for (uint32_t version : {2u, 3u}) {
    f.version = version;
    const auto o = open(f.bytes());
    const auto tensors = o->tensors();
    ASSERT_EQ(tensors.size(), 4u);
    EXPECT_EQ(tensors[0].type, "Q8_0");
    EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{3, 32}));
    EXPECT_EQ(tensors[0].bytes.size(), 3u * 34);
    EXPECT_EQ(tensors[1].bytes.size(), 20u);
    EXPECT_EQ(tensors[1].bytes.data() - tensors[0].bytes.data(), 128);
    EXPECT_EQ(tensors[2].bytes.size(), 0u);
    EXPECT_EQ(tensors[3].bytes.size(), 4u);
  }
}

TEST(Gguf, KnowsEveryType) {
  for (const GgmlType& t : ggml_types()) {
    if (t.withdrawn()) continue;
    GgufFile f;
    f.tensor("t", {static_cast<uint64_t>(2 * t.block)}, t.id, 0);
    f.data = std::string(static_cast<size_t>(2 * t.block_bytes), 'x');
    EXPECT_EQ(open(f.bytes())->tensors()[0].type, t.name);
    EXPECT_EQ(find_ggml_type(t.name), &t);
  }
}

TEST(Gguf, RefusesOtherFilesAndVersions) {
  refuses(bad_input, {"the magic", "cut short"}, std::string("GGU"));
  refuses(bad_input, {"does not begin with \"GGUF\""}, std::string("GGML\3\0\0\0", 8));
  for (const char* page : {"<!DOCTYPE html>\n<html></html>", "\n  <HTML>"})
    refuses(bad_input, {"is no GGUF file, but an HTML page, as servers send instead of a file: download it again"},
            std::string(page));
  for (uint32_t v : {0u, 4u, 99u, 0x00010003u}) {
    GgufFile f;
    f.version = v;
    refuses(bad_input, {fmt::format("version {}", v), "versions 2 and 3"}, f);
  }
  GgufFile f;
  f.version = 1;
  refuses(unsupported, {"version 1"}, f);
  for (uint32_t v : {0x03000000u, 0x02000000u}) {
    f.version = v;
    refuses(unsupported, {"big-endian"}, f);
  }
}

TEST(Gguf, RefusesCountsTheFileCannotHold) {
  for (uint64_t n : {uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    AllocationMeter meter;
    GgufFile f;
    f.tensor_count = n;
    refuses(bad_input, {fmt::format("claims {} tensors", n)}, f);
    f.tensor_count = 0;
    f.key_count = n;
    refuses(bad_input, {fmt::format("claims {} keys", n)}, f);
    EXPECT_LT(meter.total(), 100'000u);
  }
  GgufFile f = file().key("a", kU8, "x");
  f.key_count = 2;  // the second key would begin in the padding and say it is empty
  refuses(bad_input, {"key"}, f);
}

TEST(Gguf, RefusesAStringLongerThanTheFile) {
  for (uint64_t n : {uint64_t{1000}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 40}) {
    AllocationMeter meter;
    refuses(bad_input, {"a key at byte 32", fmt::format("needs {} bytes", n)},
            file().key("k", kU8, "x").bytes().replace(24, 8, raw(n)));
    refuses(bad_input, {"the value of 'k'", fmt::format("needs {} bytes", n)}, file().key("k", kStr, raw(n)));
    GgufFile f;
    f.tensor_count = 1;
    f.tensors = raw(n) + std::string(64, 'x');
    refuses(bad_input, {"a tensor name", fmt::format("needs {} bytes", n)}, f);
    EXPECT_LT(meter.total(), 100'000u);
  }
}

TEST(Gguf, RefusesArrayLengthsThatLie) {
  for (uint64_t n : {uint64_t{1000}, uint64_t{1} << 61, uint64_t{1} << 62, ~uint64_t{0}})
    for (uint32_t type : {kU8, kI16, kF32, kBool, kStr, kU64, kF64}) {
      AllocationMeter meter;
      refuses(bad_input, {"'k'", fmt::format("claims {} elements", n)},
              file().key("k", kArr, array_of(type, n, "0123456789")));
      EXPECT_LT(meter.total(), 100'000u);
    }
  // The count fits, the strings do not.
  refuses(bad_input, {"the value of 'k'", "needs 99 bytes"},
          file().key("k", kArr, array_of(kStr, 2, gguf_string("x") + raw(uint64_t{99}))));
}

TEST(Gguf, RefusesNestedArraysAndUnknownValueTypes) {
  refuses(unsupported, {"'k'", "array of arrays"}, file().key("k", kArr, array_of(kArr, 1, array_of(kU8, 1, "x"))));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += array_of(kArr, 1, "");
  refuses(unsupported, {"array of arrays"}, file().key("k", kArr, deep));
  for (uint32_t type : {13u, 255u, ~0u}) {
    refuses(bad_input, {"'k'", fmt::format("value type {}", type)}, file().key("k", type, "xxxxxxxx"));
    refuses(bad_input, {"'k'", fmt::format("value type {}", type)},
            file().key("k", kArr, array_of(type, 1, "xxxxxxxx")));
  }
}

TEST(Gguf, RefusesTruthValuesOtherThan0And1) {
  refuses(bad_input, {"'k' is 2"}, file().key("k", kBool, "\2"));
  refuses(bad_input, {"'k' is 255"}, file().key("k", kArr, array_of(kBool, 2, "\1\xff")));
}

TEST(Gguf, RefusesBadUtf8) {
  for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "ab\xe2\x82", "\x80"}) {
    refuses(bad_input, {"a key at byte 24 is not UTF-8"}, file().key(bad, kU8, "x"));
    refuses(bad_input, {"the value of 'k'", "not UTF-8"}, file().key("k", kStr, gguf_string(bad)));
    refuses(bad_input, {"the value of 'k'", "not UTF-8"}, file().key("k", kArr, array_of(kStr, 1, gguf_string(bad))));
    refuses(bad_input, {"a tensor name", "not UTF-8"}, file().tensor(bad, {0}, 0, 0));
  }
}

TEST(Gguf, RefusesDuplicateAndEmptyNames) {
  refuses(bad_input, {"the key 'k' twice"}, file().key("k", kU8, "x").key("k", kStr, gguf_string("")));
  refuses(bad_input, {"key number 1 is empty"}, file().key("k", kU8, "x").key("", kU8, "x"));
  refuses(bad_input, {"the tensor 't' twice"}, file().tensor("t", {0}, 0, 0).tensor("t", {0}, 0, 0));
  refuses(bad_input, {"no name"}, file().tensor("", {0}, 0, 0));
}

TEST(Gguf, RefusesOverflowInShapes) {
  const uint64_t big = uint64_t{1} << 32;
  refuses(bad_input, {"'t'", "overflows"}, file().tensor("t", {big, big}, 0, 0));
  refuses(bad_input, {"'t'", "overflows"}, file().tensor("t", {big, big, 0}, 0, 0));
  refuses(bad_input, {"'t'", "overflows"}, file().tensor("t", {0, big, big}, 0, 0));
  refuses(bad_input, {"'t'", "overflows"},
          file().tensor("t", {uint64_t{1} << 61}, 0, 0));  // elements fit, bytes do not
  refuses(bad_input, {"'t'", "9223372036854775808", "overflows"}, file().tensor("t", {uint64_t{1} << 63}, 0, 0));
  refuses(bad_input, {"'t'", "5 dimensions", "at most 4"}, file().tensor("t", {1, 1, 1, 1, 1}, 0, 0));
  GgufFile f;
  f.tensor_count = 1;
  f.tensors = gguf_string("t") + raw(~uint32_t{0}) + std::string(64, '\0');
  refuses(bad_input, {"4294967295 dimensions"}, f);
}

TEST(Gguf, RefusesRowsThatDoNotDivideIntoBlocks) {
  refuses(bad_input, {"'t'", "rows of 33", "Q8_0", "multiple of 32"}, file().tensor("t", {33, 32}, 8, 0));
  refuses(bad_input, {"rows of 1", "Q4_K", "256"}, file().tensor("t", {}, 12, 0));
}

TEST(Gguf, NamesUnknownAndWithdrawnTypes) {
  for (uint32_t id : {43u, 1000u, ~0u})
    refuses(unsupported, {"'t'", fmt::format("type id {}", id)}, file().tensor("t", {32}, id, 0));
  refuses(unsupported, {"'t'", "Q4_0_8_8", "withdrawn"}, file().tensor("t", {32}, 33, 0));
  refuses(unsupported, {"'t'", "Q4_2"}, file().tensor("t", {32}, 4, 0));
}

TEST(Gguf, RefusesOverlapsHolesAndMisalignment) {
  const auto two = [](uint64_t a, uint64_t b, size_t data) {
    GgufFile f;
    f.tensor("a", {16}, 0, a).tensor("b", {16}, 0, b);
    f.data = std::string(data, 'x');
    return f;
  };
  EXPECT_EQ(open(two(0, 64, 128).bytes())->tensors().size(), 2u);
  EXPECT_EQ(open(two(64, 0, 128).bytes())->tensors().size(), 2u);  // any order
  refuses(bad_input, {"'b'", "overlaps"}, two(0, 32, 128));
  refuses(bad_input, {"'b'", "overlaps"}, two(0, 0, 128));
  refuses(bad_input, {"hole before the tensor 'b'", "offset 96 and not 64"}, two(0, 96, 160));
  refuses(bad_input, {"hole before the tensor 'a'"}, two(32, 96, 160));
  refuses(bad_input, {"'b'", "offset 65", "no multiple of the alignment 32"}, two(0, 65, 160));
  refuses(bad_input, {"'b' needs 64 bytes", "the data end at 127", "cut short"}, two(0, 64, 127));
  refuses(bad_input, {"hole"}, two(0, ~uint64_t{0} - 31, 128));
  refuses(bad_input, {"32 bytes after the last tensor"}, two(0, 64, 160));
}

TEST(Gguf, TakesALastTensorWithAndWithoutItsPadding) {
  for (size_t n : {20u, 25u, 32u}) {
    GgufFile f = file().tensor("t", {5}, 0, 0);
    f.data = std::string(n, 'x');
    EXPECT_EQ(open(f.bytes())->tensors()[0].bytes.size(), 20u);
  }
}

TEST(Gguf, HonoursTheAlignmentKey) {
  const auto aligned = [](uint32_t a, uint64_t second) {
    GgufFile f = file().key("general.alignment", kU32, raw(a)).tensor("a", {1}, 0, 0).tensor("b", {1}, 0, second);
    f.alignment = a;
    f.data = std::string(second + 4, 'x');
    return f;
  };
  for (uint32_t a : {8u, 16u, 64u, 4096u}) {
    const auto o = open(aligned(a, a).bytes());
    EXPECT_EQ(o->tensors()[1].bytes.data() - o->tensors()[0].bytes.data(), a);
  }
  refuses(bad_input, {"no multiple of the alignment 64"}, aligned(64, 32));
  for (uint32_t a : {0u, 1u, 4u, 12u, 33u, 1u << 21, ~0u})
    refuses(bad_input, {fmt::format("general.alignment is {}", a), "power of two"},
            file().key("general.alignment", kU32, raw(a)));
  refuses(bad_input, {"general.alignment has the type u64; it must be u32"},
          file().key("general.alignment", kU64, raw(uint64_t{32})));
}

TEST(Gguf, ReadsVocabulariesMadeBySomebodyElse) {
  const auto data = data_dir();
  if (!data) GTEST_SKIP() << "the shared inputs are not here; set KERF_DATA";
  struct {
    const char* file;
    size_t tokens;
    const char* model;
  } const kFiles[] = {{"ggml-vocab-gpt-2.gguf", 50257, "gpt2"}, {"ggml-vocab-llama-spm.gguf", 32000, "llama"}};
  for (const auto& f : kFiles) {
    const auto r = open_gguf(*data / "vectors/tokenizer" / f.file);
    EXPECT_TRUE(r->tensors().empty());
    EXPECT_EQ(r->get_array<std::string>("tokenizer.ggml.tokens")->size(), f.tokens);
    EXPECT_EQ(*r->get<std::string>("tokenizer.ggml.model"), f.model);
  }
}

}  // namespace
}  // namespace kerf::test
