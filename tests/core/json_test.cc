#include "core/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

std::string nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

std::string said(std::string_view text) {
  return test::refusal([&] { parse_json(text, "it.json"); }, ErrorKind::bad_input);
}

TEST(Json, DepthIsBounded) {
  EXPECT_TRUE(parse_json(nested(64), "it.json").is_array());
  EXPECT_EQ(said(nested(65)), "it.json nests deeper than 64 levels of objects and lists, at byte 64");
  EXPECT_TRUE(test::mentions(said(std::string(300000, '[')), "nests deeper than 64"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_TRUE(test::mentions(said(objects), "nests deeper than 64"));
}

TEST(Json, BracketsInStringsAreNoDepth) {
  EXPECT_TRUE(parse_json("[\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"]", "it").is_array());
}

TEST(Json, RefusesWhatIsNone) {
  EXPECT_EQ(said("\"\xFF\""), "it.json is not valid UTF-8 at byte 1; JSON must be");
  EXPECT_EQ(said(std::string_view("{}\0[", 4)), "it.json has a zero byte at 2; JSON may not");
  for (const char* text : {"", "{", "[1,]", "nul", "{} {}", "]", "{\"a\":\"\\ud800\"}"})
    EXPECT_TRUE(said(text).starts_with("it.json: not valid JSON: ")) << text << ": " << said(text);
}

TEST(Json, LastOfEqualKeysCounts) { EXPECT_EQ(parse_json(R"({"a":1,"a":2})", "it")["a"], 2); }

TEST(Json, FindsTheTextOfAValue) {
  const std::string text = R"( {"a": {"b":[1, "]\"}", {"c":2}], "b ": 3 , "b" : "x\\"}, "d":-1e5,"e":{}, "a\"":null} )";
  const auto at = [&](std::initializer_list<std::string_view> path) {
    const auto span = find_json_value(text, path);
    return span ? text.substr(span->begin, span->end - span->begin) : "none";
  };
  EXPECT_EQ(at({"a", "b"}), R"("x\\")");  // of equal keys the last
  EXPECT_EQ(at({"a", "b "}), "3");
  EXPECT_EQ(at({"d"}), "-1e5");
  EXPECT_EQ(at({"e"}), "{}");
  for (const auto& path : {std::initializer_list<std::string_view>{"b"}, {"a", "c"}, {"d", "x"}, {"e", "x"}})
    EXPECT_EQ(at(path), "none");
  EXPECT_EQ(find_json_value("[]", {"a"}), std::nullopt);
  EXPECT_EQ(find_json_value(R"({"a":7})", {"a"})->end, 6u);
}

TEST(Json, ReadsTheNumbersThatPythonNames) {
  const nlohmann::json v =
      parse_json(R"({"NaN":NaN,"a":[Infinity,-Infinity,1],"s":"NaN, \"Infinity\" [-Infinity"})", "it");
  EXPECT_TRUE(std::isnan(v["NaN"].get<double>()));
  EXPECT_EQ(v["a"][0], std::numeric_limits<double>::infinity());
  EXPECT_EQ(v["a"][1], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(v["s"], "NaN, \"Infinity\" [-Infinity");
  EXPECT_EQ(short_json(v["a"]), "[Infinity,-Infinity,1]");
  for (const char* text :
       {"[NaNs]", "[Infinityx]", "[+Infinity]", "[nan]", "[inf]", "{NaN:1}", "[1NaN]", "[--Infinity]"})
    EXPECT_TRUE(said(text).starts_with("it.json: not valid JSON: ")) << text;
}

TEST(Json, WritesThemAsPythonDoes) {
  const std::string text = R"({
  "z": NaN,
  "a": [
    -Infinity,
    Infinity
  ],
  "s": "NaN"
})";
  EXPECT_EQ(json_text(parse_ordered_json(text, "it")), text);
  const nlohmann::ordered_json plain = {{"a", 1.5}};
  EXPECT_EQ(json_text(plain), plain.dump(2));
}

TEST(Json, NamesFilesOfAnotherKind) {
  EXPECT_EQ(said("<html>x"),
            "it.json is no JSON, but an HTML page, as servers send instead of a file: download it again");
  EXPECT_TRUE(test::mentions(said("Entry not found"), "'Entry not found'"));
  EXPECT_TRUE(test::mentions(said(std::string_view("PK\x03\x04\0\0", 6)), "ZIP archive"));
}

TEST(Json, KeepsTheOrderWhereAsked) {
  EXPECT_EQ(parse_ordered_json(R"({"b":1,"a":2})", "it").dump(), R"({"b":1,"a":2})");
}

TEST(Json, ShortJsonIsShort) {
  EXPECT_EQ(short_json(nlohmann::json::parse(R"({"a":[1,2.5,"x",null,true]})")), R"({"a":[1,2.5,"x",null,true]})");
  EXPECT_EQ(short_json(std::string(100000, 'x')).size(), 60u);
  EXPECT_EQ(short_json(std::string("\xC3\xA9\xFF")), "\"\\u00e9\\ufffd\"");
  nlohmann::json deep;  // deeper than a walk that recurses could go
  for (int i = 0; i < 300000; ++i) {
    nlohmann::json outer = nlohmann::json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_EQ(short_json(deep), std::string(57, '[') + "...");
}

TEST(Json, FilesMustHoldAnObject) {
  const test::TempDir dir;
  write_text(dir / "a.json", "[1]");
  EXPECT_TRUE(test::mentions(test::refusal([&] { read_json_object(dir / "a.json"); }, ErrorKind::bad_input),
                             "a.json is not a JSON object, but [1]"));
}

}  // namespace
}  // namespace kerf
