// Damaged and hostile tokenizer files: each is refused with a sentence that names what is wrong.
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "tests/model/tokenizer_golden.h"
#include "tests/support/refusal.h"

namespace kerf::test {
namespace {

using json = nlohmann::json;

json good() {
  return json::parse(R"({
    "version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": null, "post_processor": null, "decoder": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

struct Hostile {
  const char* name;
  std::function<void(json&)> damage;
  ErrorKind kind;
  std::vector<std::string> says;
};

const Hostile kHostile[] = {
    {"NoModel", [](json& j) { j.erase("model"); }, ErrorKind::bad_input, {"\"model\" is missing"}},
    {"ModelIsAList", [](json& j) { j["model"] = json::array(); }, ErrorKind::bad_input, {"model", "object", "array"}},
    {"UnknownModel", [](json& j) { j["model"]["type"] = "Unigram"; }, ErrorKind::unsupported, {"Unigram", "BPE"}},
    {"TypeIsANumber",
     [](json& j) { j["model"]["type"] = 3; },
     ErrorKind::bad_input,
     {"model.type", "string", "number"}},
    {"NoVocab", [](json& j) { j["model"].erase("vocab"); }, ErrorKind::bad_input, {"\"vocab\" is missing"}},
    {"VocabIsAList",
     [](json& j) {
       j["model"]["vocab"] = {1, 2};
     },
     ErrorKind::bad_input,
     {"vocab", "object"}},
    {"NoMerges", [](json& j) { j["model"].erase("merges"); }, ErrorKind::bad_input, {"\"merges\" is missing"}},
    {"IdIsText", [](json& j) { j["model"]["vocab"]["a"] = "0"; }, ErrorKind::bad_input, {"\"a\"", "integer"}},
    {"IdIsNegative", [](json& j) { j["model"]["vocab"]["a"] = -1; }, ErrorKind::bad_input, {"-1", "out of range"}},
    {"IdIsHuge", [](json& j) { j["model"]["vocab"]["a"] = 4000000000u; }, ErrorKind::bad_input, {"4000000000"}},
    {"IdPast63Bits", [](json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; }, ErrorKind::bad_input, {"out of range"}},
    {"TwoTokensWithOneId", [](json& j) { j["model"]["vocab"]["a"] = 1; }, ErrorKind::bad_input, {"same id 1"}},
    {"MergeOfAnUnknownToken",
     [](json& j) { j["model"]["merges"] = {"a c"}; },
     ErrorKind::bad_input,
     {"merge 0", "\"c\""}},
    {"MergeIntoAnUnknownToken", [](json& j) { j["model"]["merges"] = {"b a"}; }, ErrorKind::bad_input, {"\"ba\""}},
    {"MergeOfThree", [](json& j) { j["model"]["merges"] = {"a b c"}; }, ErrorKind::bad_input, {"a b c"}},
    {"MergeOfOne", [](json& j) { j["model"]["merges"] = {"ab"}; }, ErrorKind::bad_input, {"\"ab\""}},
    {"MergeIsANumber", [](json& j) { j["model"]["merges"] = {1}; }, ErrorKind::bad_input, {"merges[0]"}},
    {"MergePairOfOne",
     [](json& j) { j["model"]["merges"] = {json::array({"a"})}; },
     ErrorKind::bad_input,
     {"merges[0]"}},
    {"Dropout", [](json& j) { j["model"]["dropout"] = 0.1; }, ErrorKind::unsupported, {"dropout", "0.1"}},
    {"SubwordPrefix",
     [](json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
     ErrorKind::unsupported,
     {"continuing_subword_prefix", "##"}},
    {"AddedWithoutContent", [](json& j) { j["added_tokens"][0].erase("content"); }, ErrorKind::bad_input, {"content"}},
    {"AddedFlagIsText", [](json& j) { j["added_tokens"][0]["lstrip"] = "yes"; }, ErrorKind::bad_input, {"lstrip"}},
    {"AddedIsAnObject",
     [](json& j) { j["added_tokens"] = json::object(); },
     ErrorKind::bad_input,
     {"added_tokens", "list"}},
    {"AddedTokenIsVeryLong",
     [](json& j) { j["added_tokens"][0]["content"] = std::string(100000, '<'); },
     ErrorKind::unsupported,
     {"100000 bytes"}},
    {"UnknownNormalizer",
     [](json& j) {
       j["normalizer"] = {{"type", "BertNormalizer"}};
     },
     ErrorKind::unsupported,
     {"BertNormalizer", "NFC, Prepend, Replace"}},
    {"NormalizerWithoutType",
     [](json& j) { j["normalizer"] = json::object(); },
     ErrorKind::bad_input,
     {"normalizer", "type"}},
    {"ReplaceByRegex",
     [](json& j) {
       j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "a"}}}, {"content", ""}};
     },
     ErrorKind::unsupported,
     {"Regex"}},
    {"UnknownPreTokenizer",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Whitespace"}};
     },
     ErrorKind::unsupported,
     {"Whitespace", "ByteLevel, Digits, Split, Metaspace"}},
    {"UnknownInSequence",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Nonsense"}}}}};
     },
     ErrorKind::unsupported,
     {"pretokenizers[0]", "Nonsense"}},
    {"ByteLevelNotLast",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}};
     },
     ErrorKind::unsupported,
     {"ByteLevel must be the last"}},
    {"SplitRemoved",
     [](json& j) {
       j["pre_tokenizer"] = {
           {"type", "Split"}, {"pattern", {{"Regex", "x"}}}, {"behavior", "Removed"}, {"invert", false}};
     },
     ErrorKind::unsupported,
     {"Removed", "Isolated"}},
    {"SplitByABrokenRegex",
     [](json& j) {
       j["pre_tokenizer"] = {
           {"type", "Split"}, {"pattern", {{"Regex", "(x"}}}, {"behavior", "Isolated"}, {"invert", false}};
     },
     ErrorKind::bad_input,
     {"(x"}},
    {"UnknownPostProcessor",
     [](json& j) {
       j["post_processor"] = {{"type", "Magic"}};
     },
     ErrorKind::unsupported,
     {"Magic", "TemplateProcessing"}},
    {"TemplateIdOutOfRange",
     [](json& j) {
       j["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
         {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [77], "tokens": ["<s>"]}}})");
     },
     ErrorKind::bad_input,
     {"77", "vocabulary of 4"}},
    {"TemplateWithoutText",
     [](json& j) {
       j["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})");
     },
     ErrorKind::unsupported,
     {"leaves the text out"}},
    {"UnknownDecoder",
     [](json& j) {
       j["decoder"] = {{"type", "CTC"}};
     },
     ErrorKind::unsupported,
     {"CTC", "ByteFallback"}},
    {"Version", [](json& j) { j["version"] = "2.0"; }, ErrorKind::unsupported, {"2.0"}},
};

class HostileTokenizer : public testing::TestWithParam<Hostile> {};

TEST_P(HostileTokenizer, IsRefusedWithASentence) {
  json j = good();
  ASSERT_NO_THROW(Tokenizer(parse_tokenizer_json(j.dump(), "tokenizer.json")));
  GetParam().damage(j);
  try {
    const Tokenizer t(parse_tokenizer_json(j.dump(), "tokenizer.json"));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), GetParam().kind) << e.what();
    for (const std::string& word : GetParam().says) {
      EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << "\"" << word << "\" is not in: " << e.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, HostileTokenizer, testing::ValuesIn(kHostile),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(TokenizerJson, EveryTruncationIsRefused) {
  const std::string whole = good().dump();
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse_tokenizer_json(whole.substr(0, n), "tokenizer.json"), Error) << n;
  }
}

TEST(TokenizerJson, DeepNestingIsRefusedNotFollowed) {
  json step = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) step = {{"type", "Sequence"}, {"normalizers", {step}}};
  json j = good();
  j["normalizer"] = step;
  EXPECT_THROW(parse_tokenizer_json(j.dump(), "tokenizer.json"), Error);
}

TEST(TokenizerJson, ScalarsInPlaceOfAnyValueNeverCrash) {
  const json original = good();
  const json paths = original.flatten();
  for (const auto& [path, ignored] : paths.items()) {
    for (const json& value : {json(nullptr), json(-1), json(1e300), json(""), json("x"), json(true), json::array()}) {
      json j = original;
      j[json::json_pointer(path)] = value;
      try {
        const Tokenizer t(parse_tokenizer_json(j.dump(), "tokenizer.json"));
        t.decode(t.encode("ab <s>ab", true), false);
      } catch (const Error&) {
      }
    }
  }
}

TEST(TokenizerJson, NumbersAddedTokensAsTheLibraryDoesAndSaysSo) {
  for (const int64_t claimed : {int64_t{1}, int64_t{77}, int64_t{1} << 31}) {
    json j = good();
    j["added_tokens"][0]["id"] = claimed;
    const TokenizerSpec spec = parse_tokenizer_json(j.dump(), "tokenizer.json");
    EXPECT_EQ(Tokenizer(spec).encode("a<s>", false), (std::vector<int32_t>{0, 3}));
    ASSERT_EQ(spec.remarks.size(), 1u);
    EXPECT_NE(spec.remarks[0].find(fmt::format("\"<s>\" has the id {}", claimed)), std::string::npos)
        << spec.remarks[0];
  }
  EXPECT_TRUE(parse_tokenizer_json(good().dump(), "tokenizer.json").remarks.empty());
}

TEST(TokenizerJson, FillsHolesInTheNumberingWithUnusedTokens) {
  json j = good();
  j["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 7}};
  j["added_tokens"] = json::array();
  const TokenizerSpec spec = parse_tokenizer_json(j.dump(), "tokenizer.json");
  EXPECT_EQ(spec.tokens.size(), 8u);
  EXPECT_EQ(spec.tokens[5], "[PAD5]");
  EXPECT_EQ(spec.types[5], TokenType::unused);
  const Tokenizer t(spec);
  EXPECT_EQ(t.encode("abb[PAD5]", false), (std::vector<int32_t>{7, 1}));  // the library drops what it has no token for
  EXPECT_EQ(t.decode(std::vector<int32_t>{5, 7, 99, -1}, false), "ab");
}

class TokenizerDirectory : public testing::Test {
 protected:
  void put(const char* file, const json& content) { write_text(dir_ / file, content.dump()); }
  TempDir dir_;
};

TEST_F(TokenizerDirectory, WithoutTokenizerJsonIsAnIoError) {
  try {
    read_tokenizer_spec(dir_.path());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::io);
    EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos);
  }
}

TEST_F(TokenizerDirectory, TakesSpecialTokensAndChatTemplateFromTheConfig) {
  put("tokenizer.json", good());
  put("tokenizer_config.json", {{"bos_token", {{"content", "<s>"}}}, {"eos_token", "b"}, {"chat_template", "{{ x }}"}});
  put("generation_config.json", {{"eos_token_id", 0}, {"pad_token_id", json::array({2, 1})}});
  const TokenizerSpec spec = read_tokenizer_spec(dir_.path());
  EXPECT_EQ(spec.bos, 3);
  EXPECT_EQ(spec.eos, 1);
  EXPECT_EQ(spec.pad, 2);
  EXPECT_FALSE(spec.add_bos);
  EXPECT_EQ(spec.chat_template, "{{ x }}");
}

TEST_F(TokenizerDirectory, PrefersTheTemplateCalledDefaultAndAFileOfItsOwn) {
  put("tokenizer.json", good());
  put("tokenizer_config.json",
      {{"chat_template", {{{"name", "tools"}, {"template", "1"}}, {{"name", "default"}, {"template", "2"}}}}});
  EXPECT_EQ(read_tokenizer_spec(dir_.path()).chat_template, "2");
  write_text(dir_ / "chat_template.jinja", "\n<HTML><body>404</body></HTML>");
  EXPECT_TRUE(mentions(refusal([&] { read_tokenizer_spec(dir_.path()); }, ErrorKind::bad_input),
                       "chat_template.jinja is no chat template, but an HTML page"));
  write_text(dir_ / "chat_template.jinja", "{% for m in messages %}");
  EXPECT_EQ(read_tokenizer_spec(dir_.path()).chat_template, "{% for m in messages %}");
}

TEST_F(TokenizerDirectory, RefusesSideFilesThatContradictIt) {
  put("tokenizer.json", good());
  put("generation_config.json", {{"eos_token_id", "b"}});
  EXPECT_THROW(read_tokenizer_spec(dir_.path()), Error);
  put("generation_config.json", json::object());
  put("tokenizer_config.json", {{"bos_token", 5}});
  EXPECT_THROW(read_tokenizer_spec(dir_.path()), Error);
}

}  // namespace
}  // namespace kerf::test
