#include "formats/safetensors.h"

#include "tests/formats/allocation_meter.h"
#include "tests/formats/hostile.h"

namespace kerf::test {
namespace {

using enum ErrorKind;

SafetensorsHeader parse(const std::string& bytes) { return parse_safetensors_header(as_bytes(bytes), "F"); }
void refuses(ErrorKind kind, std::initializer_list<std::string_view> words, std::string_view json,
             std::string_view data = "") {
  SCOPED_TRACE(json.substr(0, 200));
  expect_error(kind, words, [&] { parse(safetensors_bytes(json, data)); });
}

TEST(Safetensors, ReadsTensorsMetadataAndTrailingSpaces) {
  const auto h = parse(safetensors_bytes(
      R"({"__metadata__":{"format":"pt","ä":""},"b":{"shape":[2,3],"data_offsets":[2,14],"dtype":"BF16"},)"
      R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   )",
      std::string(14, 'x')));
  ASSERT_EQ(h.entries.size(), 2u);
  EXPECT_EQ(h.entries[0].name, "b");  // the header's order, not the data's
  EXPECT_EQ(h.entries[0].dtype, Dtype::bf16);
  EXPECT_EQ(h.entries[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(h.entries[0].end - h.entries[0].begin, 12u);
  EXPECT_EQ(h.entries[1].begin + 2, h.entries[0].begin);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(h.metadata, (std::vector<Pair>{{"format", "pt"}, {"ä", ""}}));
}

TEST(Safetensors, ReadsEveryDtypeOfTheSpecification) {
  struct {
    const char* name;
    int bits;
  } const kTypes[] = {{"BOOL", 8},    {"U8", 8},      {"I8", 8},      {"F4", 4},          {"F6_E2M3", 6},
                      {"F6_E3M2", 6}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},     {"I16", 16},
                      {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},
                      {"F32", 32},    {"C64", 64},    {"F64", 64},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
                      {"I64", 64},    {"U64", 64}};
  for (const auto& t : kTypes) {
    const int bytes = 12 * t.bits / 8;
    const auto json = fmt::format(R"({{"t":{{"dtype":"{}","shape":[3,4],"data_offsets":[0,{}]}}}})", t.name, bytes);
    const auto h = parse(safetensors_bytes(json, std::string(static_cast<size_t>(bytes), '\0')));
    ASSERT_EQ(h.entries.size(), 1u) << t.name;
    EXPECT_EQ(name_of(h.entries[0].dtype), t.name);
  }
}

TEST(Safetensors, AllowsNoTensorsScalarsAndZeroSizedTensors) {
  EXPECT_TRUE(parse(safetensors_bytes("{}", "")).entries.empty());
  const auto h = parse(safetensors_bytes(
      R"({"none":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},"one":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("also":{"dtype":"U8","shape":[3,0],"data_offsets":[0,0]}})",
      "1234"));
  EXPECT_EQ(h.entries.size(), 3u);
}

TEST(Safetensors, RefusesAFileTooShortForItsLength) {
  for (size_t n = 0; n < 8; ++n)
    expect_error(bad_input, {"begins with 8 bytes"}, [&] { parse(std::string(n, '\x01')); });
}

TEST(Safetensors, RefusesAHeaderLongerThanTheFile) {
  expect_error(bad_input, {"header of 3 bytes", "only 2 follow", "cut short"}, [] { parse(raw(uint64_t{3}) + "{}"); });
  expect_error(bad_input, {"18446744073709551615", "at most 100000000"}, [] { parse(raw(~uint64_t{0}) + "{}"); });
  expect_error(bad_input, {"100000001", "at most"}, [] { parse(raw(uint64_t{100'000'001}) + "{}"); });
  expect_error(bad_input, {"100000000 bytes, but only"}, [] { parse(raw(uint64_t{100'000'000}) + "{}"); });
}

TEST(Safetensors, RefusesAHeaderThatDoesNotBeginWithABrace) {
  for (const char* json : {"", " {}", "[]", "null", "\xEF\xBB\xBF{}", "1"})
    refuses(bad_input, {"does not begin with '{'"}, json);
}

TEST(Safetensors, RefusesDamagedJson) {
  for (const char* json : {"{", "{}}", "{\"a\"", "{\"a\":}", "{,}", "{\"a\":{\"dtype\":\"F32\",}}", "{} x", "{'a':1}",
                           "{\"\\x\":1}", "{}{}"})
    refuses(bad_input, {"not valid JSON", "at byte"}, json);
  refuses(bad_input, {"zero byte"}, std::string_view("{}\0{}", 5));
}

TEST(Safetensors, RefusesBadUtf8InNames) {
  for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"})
    refuses(bad_input, {"not valid UTF-8 at byte 2"},
            fmt::format(R"({{"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}})", bad));
  // A lone surrogate can also be spelled in escapes.
  refuses(bad_input, {"not valid JSON"}, R"({"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
}

TEST(Safetensors, RefusesDuplicateNames) {
  const std::string t = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  refuses(bad_input, {"'a' twice"}, "{\"a\":" + t + ",\"a\":" + t + "}");
  refuses(bad_input, {"'a' twice"}, "{\"a\":" + t + ",\"\\u0061\":" + t + "}");
  refuses(bad_input, {"'__metadata__' twice"}, R"({"__metadata__":{},"__metadata__":{}})");
  refuses(bad_input, {"metadata key 'k' twice"}, R"({"__metadata__":{"k":"","k":""}})");
  for (const char* field : {R"("dtype":"U8")", R"("shape":[0])", R"("data_offsets":[0,0])"})
    refuses(bad_input, {"two fields"},
            fmt::format(R"({{"a":{{{},"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}})", field));
}

TEST(Safetensors, RefusesOverlaps) {
  refuses(
      bad_input, {"'b' overlap those of 'a'"},
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
      "1234567");
  refuses(
      bad_input, {"overlap"},
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
      "1234");
  // A tensor of no bytes inside another one is an overlap as well.
  refuses(
      bad_input, {"overlap"},
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
      "1234");
}

TEST(Safetensors, RefusesHoles) {
  refuses(bad_input, {"hole of 1 bytes", "the start of the data and 'a'"},
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", "12345");
  refuses(
      bad_input, {"hole of 2 bytes between 'a' and 'b'"},
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      "1234");
  refuses(bad_input, {"5 bytes after the last tensor"}, "{}", "12345");
}

TEST(Safetensors, RefusesDataCutShort) {
  refuses(bad_input, {"describes 4 bytes of data, but only 3", "download it again"},
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "123");
}

TEST(Safetensors, RefusesOverflowInShapesAndOffsets) {
  const auto tensor = [](std::string_view shape, std::string_view offsets) {
    return fmt::format(R"({{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[{}]}}}})", shape, offsets);
  };
  refuses(bad_input, {"'a'", "overflows"}, tensor("4294967296,4294967296", "0,0"));
  refuses(bad_input, {"'a'", "overflows"}, tensor("0,4294967296,4294967296", "0,0"));
  refuses(bad_input, {"'a'", "overflows"}, tensor("4294967296,4294967296,0", "0,0"));
  refuses(bad_input, {"'a'", "overflows"}, tensor("2305843009213693952", "0,0"));  // elements fit, bits do not
  refuses(bad_input, {"'a'", "overflows"}, tensor("9223372036854775808", "0,0"));
  refuses(bad_input, {"no 64-bit integer in the shape of 'a'"}, tensor("18446744073709551616", "0,0"));
  refuses(bad_input, {"no 64-bit integer in the data_offsets of 'a'"}, tensor("1", "0,18446744073709551620"));
  refuses(bad_input, {"begins at 8 and ends before, at 4"}, tensor("1", "8,4"));
  refuses(bad_input, {"begins at 18446744073709551614"}, tensor("1", "18446744073709551614,2"));
  refuses(bad_input, {"hole"}, tensor("1", "18446744073709551611,18446744073709551615"));
}

TEST(Safetensors, RefusesSizesThatDoNotFitDtypeAndShape) {
  refuses(bad_input, {"'a'", "needs 8 bytes", "F32", "span 4"},
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234");
  refuses(bad_input, {"needs 4 bytes", "span 8"}, R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,8]}})",
          "12345678");
  refuses(bad_input, {"3 elements of F4", "whole bytes"}, R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})",
          "12");
  refuses(bad_input, {"F6_E2M3", "whole bytes"}, R"({"a":{"dtype":"F6_E2M3","shape":[2],"data_offsets":[0,2]}})", "12");
}

TEST(Safetensors, NamesAnUnknownDtype) {
  refuses(unsupported, {"'a'", "'Q7'"}, R"({"a":{"dtype":"Q7","shape":[0],"data_offsets":[0,0]}})");
  refuses(unsupported, {"''"}, R"({"a":{"dtype":"","shape":[0],"data_offsets":[0,0]}})");
}

TEST(Safetensors, RefusesFieldsOfTheWrongKind) {
  const auto with = [](std::string_view fields) { return fmt::format(R"({{"a":{{{}}}}})", fields); };
  refuses(bad_input, {"lacks its dtype"}, with(R"("shape":[0],"data_offsets":[0,0])"));
  refuses(bad_input, {"lacks its shape"}, with(R"("dtype":"U8","data_offsets":[0,0])"));
  refuses(bad_input, {"lacks its data_offsets"}, with(R"("dtype":"U8","shape":[0])"));
  refuses(bad_input, {"the key 'strides'"}, with(R"("strides":[1])"));
  refuses(bad_input, {"a number as the dtype of 'a'"}, with(R"("dtype":1)"));
  refuses(bad_input, {"an array as the dtype"}, with(R"("dtype":["U8"])"));
  refuses(bad_input, {"a number as the shape"}, with(R"("shape":3)"));
  refuses(bad_input, {"an object as the shape"}, with(R"("shape":{"a":1})"));
  refuses(bad_input, {"a negative number in the shape of 'a'"}, with(R"("shape":[-1])"));
  refuses(bad_input, {"a number that is no 64-bit integer in the shape"}, with(R"("shape":[1.0])"));
  refuses(bad_input, {"a string in the shape"}, with(R"("shape":["1"])"));
  refuses(bad_input, {"a null in the shape"}, with(R"("shape":[null])"));
  refuses(bad_input, {"an array in the shape"}, with(R"("shape":[[1]])"));
  refuses(bad_input, {"are 1 numbers; they must be two"}, with(R"("data_offsets":[0])"));
  refuses(bad_input, {"a number in the data_offsets of 'a'"}, with(R"("data_offsets":[0,0,0])"));
  refuses(bad_input, {"a negative number in the data_offsets"}, with(R"("data_offsets":[-1,0])"));
  refuses(bad_input, {"a boolean"}, with(R"("data_offsets":true)"));
  for (const char* value : {"1", "\"x\"", "[]", "null", "true", "-1", "1.5"})
    refuses(bad_input, {"where 'a' should be described by an object"}, fmt::format(R"({{"a":{}}})", value));
  for (const char* value : {"1", "[]", "{}", "null", "false"})
    refuses(bad_input, {"only strings are allowed"}, fmt::format(R"({{"__metadata__":{{"k":{}}}}})", value));
}

TEST(Safetensors, RefusesNestingBombsAtOnce) {
  const std::string deep(1'000'000, '['), objects = [] {
    std::string s;
    for (int i = 0; i < 200'000; ++i) s += "{\"a\":";
    return s;
  }();
  for (const std::string& json :
       {"{\"a\":" + deep, "{\"a\":{\"shape\":" + deep, objects, "{\"__metadata__\":{\"k\":" + deep}) {
    AllocationMeter meter;
    refuses(bad_input, {}, json);
    EXPECT_LT(meter.total(), 10 * json.size());  // the file itself is copied a few times by this test
  }
}

TEST(Safetensors, QuotesLongAndUnprintableNamesBriefly) {
  const std::string name(100'000, 'n');
  try {
    parse(safetensors_bytes("{\"" + name + "\\u0007\":1}", ""));
    FAIL();
  } catch (const Error& e) {
    EXPECT_LT(std::string(e.what()).size(), 400u);
  }
  refuses(bad_input, {R"('\x07\x7f')"}, "{\"\\u0007\x7f\":1}");
}

}  // namespace
}  // namespace kerf::test
