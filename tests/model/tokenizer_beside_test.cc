// Special tokens that stand beside tokenizer.json, against AutoTokenizer (goldens/tokenizer/make_beside.py).
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "model/text/tokenizer_tables.h"
#include "tests/model/tokenizer_golden.h"
#include "tests/support/refusal.h"

namespace kerf::test {
namespace {

using json = nlohmann::json;

class Beside : public testing::TestWithParam<std::string> {};

json beside() {
  static const json all = golden("beside.json");
  return all;
}

json or_null(const std::optional<int32_t>& id) { return id ? json(*id) : json(); }

TEST_P(Beside, IsReadAsAutoTokenizerDoes) {
  const TempDir dir;
  const json all = beside(), the_case = all["cases"][GetParam()], expected = the_case["expected"];
  write_text(dir / "tokenizer.json", all["tokenizer"].dump());
  // In the order of the keys there, by which tokens are numbered.
  const auto ordered = nlohmann::ordered_json::parse(
      read_text(source_dir() / "tests" / "model" / "goldens" / "tokenizer" / "beside.json"));
  for (const auto& [file, content] : ordered["cases"][GetParam()]["files"].items())
    write_text(dir / file, content.dump());
  const Tokenizer t = Tokenizer::from_directory(dir.path());
  const TokenizerSpec& spec = t.spec();
  json added = json::object();
  for (const AddedToken& a : spec.added) {
    added[std::to_string(a.id)] = {a.content, a.lstrip, a.rstrip, a.normalized, a.single_word, a.special};
    EXPECT_EQ(spec.tokens[static_cast<size_t>(a.id)], a.content);
    EXPECT_EQ(spec.types[static_cast<size_t>(a.id)], a.special ? TokenType::control : TokenType::user_defined);
  }
  EXPECT_EQ(added, expected["added"]);
  EXPECT_EQ(t.encode(all["text"].get<std::string>(), false), expected["ids"].get<std::vector<int32_t>>());
  EXPECT_EQ(or_null(spec.bos), expected["bos"]);
  EXPECT_EQ(or_null(spec.eos), expected["eos"]);
  EXPECT_EQ(or_null(spec.pad), expected["pad"]);
  EXPECT_EQ(or_null(spec.unk), expected["unk"]);
  const TokenizerTables tables = tokenizer_tables(
      [&] {
        TokenizerSpec s = spec;
        s.pre = "gpt-2";
        return s;
      }(),
      100);
  for (const AddedToken& a : spec.added) EXPECT_EQ(tables.tokens[static_cast<size_t>(a.id)], a.content);
  EXPECT_EQ(tables.tokens[99], "[PAD99]");
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  const json cases = beside()["cases"];
  for (const auto& [name, ignored] : cases.items()) all.push_back(name);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Cases, Beside, testing::ValuesIn(names()), [](const auto& info) { return info.param; });

class BesideTokenizerJson : public testing::Test {
 protected:
  BesideTokenizerJson() { put("tokenizer.json", beside()["tokenizer"]); }
  void put(const char* file, const json& content) { write_text(dir_ / file, content.dump()); }
  std::string remark() const {
    const auto remarks = read_tokenizer_spec(dir_.path()).remarks;
    return remarks.size() == 1 ? remarks[0] : fmt::format("{} remarks", remarks.size());
  }
  TempDir dir_;
};

TEST_F(BesideTokenizerJson, SaysWhereIdsAreOtherThanAFileSays) {
  const auto n = static_cast<int32_t>(beside()["tokenizer"]["model"]["vocab"].size());
  put("added_tokens.json", {{"<x>", n + 5}});
  const std::string said = remark();
  EXPECT_TRUE(mentions(said, "added_tokens.json")) << said;
  EXPECT_TRUE(mentions(said, fmt::format("\"<x>\" has the id {}; AutoTokenizer gives it {}", n + 5, n))) << said;
  put("added_tokens.json", {{"<x>", n}});
  EXPECT_EQ(remark(), "0 remarks");
}

TEST_F(BesideTokenizerJson, RefusesWhatIsNoToken) {
  const auto said = [&](const json& config) {
    put("tokenizer_config.json", config);
    return refusal([&] { read_tokenizer_spec(dir_.path()); }, ErrorKind::bad_input);
  };
  EXPECT_TRUE(mentions(said({{"added_tokens_decoder", {{"x", {{"content", "a"}}}}}}), "\"x\" is no token id"));
  EXPECT_TRUE(mentions(said({{"added_tokens_decoder", {{"40", "a"}}}}), "expected an object"));
  EXPECT_TRUE(mentions(said({{"added_tokens_decoder", {1}}}), "expected an object"));
  EXPECT_TRUE(mentions(said({{"extra_special_tokens", 1}}), "a list or an object"));
  put("tokenizer_config.json", json::object());
  put("added_tokens.json", {{"<x>", "y"}});
  EXPECT_TRUE(mentions(refusal([&] { read_tokenizer_spec(dir_.path()); }, ErrorKind::bad_input), "integer"));
}

TEST_F(BesideTokenizerJson, EveryEndOfATextCounts) {
  put("tokenizer_config.json", {{"eos_token", "<|endoftext|>"}});
  put("generation_config.json", {{"eos_token_id", {0, 2}}});
  put("config.json", {{"eos_token_id", 3}, {"vocab_size", 400}});
  const TokenizerSpec spec = read_tokenizer_spec(dir_.path());
  EXPECT_EQ(spec.eos, 0);
  EXPECT_EQ(spec.ends, (std::vector<int32_t>{2, 3}));
}

TEST_F(BesideTokenizerJson, IdsOfFillingRowsAreTokensAndOthersAreLeftOut) {
  const auto n = static_cast<int32_t>(beside()["tokenizer"]["model"]["vocab"].size());
  put("config.json",
      {{"eos_token_id", {0, n + 3}}, {"pad_token_id", n + 1}, {"bos_token_id", -1}, {"vocab_size", n + 4}});
  TokenizerSpec spec = read_tokenizer_spec(dir_.path());
  EXPECT_EQ(spec.pad, n + 1);
  EXPECT_EQ(spec.bos, std::nullopt);
  EXPECT_EQ(spec.ends, (std::vector<int32_t>{n + 3}));
  EXPECT_EQ(spec.tokens[static_cast<size_t>(n + 1)], fmt::format("[PAD{}]", n + 1));
  EXPECT_TRUE(spec.remarks.empty());
  put("config.json", {{"eos_token_id", 0}, {"pad_token_id", n + 4}, {"vocab_size", n + 4}});
  spec = read_tokenizer_spec(dir_.path());
  EXPECT_EQ(spec.pad, std::nullopt);
  ASSERT_EQ(spec.remarks.size(), 1u);
  EXPECT_TRUE(mentions(spec.remarks[0], fmt::format("pad_token_id: {} is none of the {} tokens", n + 4, n)))
      << spec.remarks[0];
  put("config.json", {{"pad_token_id", 2000000000}, {"vocab_size", 2000000001}});
  EXPECT_EQ(read_tokenizer_spec(dir_.path()).pad, std::nullopt);  // and no memory for all of them
}

TEST_F(BesideTokenizerJson, TokensWithoutARowAreLeftOut) {
  put("tokenizer_config.json", {{"eos_token", "!"}, {"pad_token", "<pad>"}});
  TokenizerSpec spec = read_tokenizer_spec(dir_.path());
  const auto n = static_cast<int64_t>(beside()["tokenizer"]["model"]["vocab"].size());
  EXPECT_EQ(spec.pad, n);
  drop_tokens_past(spec, n);
  EXPECT_EQ(spec.pad, std::nullopt);
  EXPECT_EQ(spec.eos, 1);
  EXPECT_EQ(static_cast<int64_t>(spec.tokens.size()), n);
  ASSERT_EQ(spec.remarks.size(), 1u);
  EXPECT_TRUE(mentions(spec.remarks[0], fmt::format("<pad> ({})", n))) << spec.remarks[0];
}

TEST_F(BesideTokenizerJson, TheUnknownTokenMayBeAbsentUntilItIsNeeded) {
  json t = beside()["tokenizer"];
  t["model"]["unk_token"] = "<nowhere>";
  put("tokenizer.json", t);
  const Tokenizer tokenizer = Tokenizer::from_directory(dir_.path());
  EXPECT_EQ(tokenizer.spec().unk, std::nullopt);
  EXPECT_EQ(tokenizer.encode("the", false).size(), 1u);
  const std::string said = refusal([&] { tokenizer.encode("the Z", false); }, ErrorKind::bad_input);
  EXPECT_TRUE(mentions(said, "no token spells the byte 0x5A")) << said;
  EXPECT_TRUE(mentions(said, "<nowhere>")) << said;
  t["model"]["unk_token"] = "!";  // there, what no token spells becomes it
  put("tokenizer.json", t);
  EXPECT_EQ(Tokenizer::from_directory(dir_.path()).encode("theZ", false).back(), 1);
  t["model"]["unk_token"] = nullptr;  // and without one it is left out
  put("tokenizer.json", t);
  EXPECT_EQ(Tokenizer::from_directory(dir_.path()).encode("theZ", false).size(), 1u);
}

TEST_F(BesideTokenizerJson, WithoutTokenizerJsonTheSentenceNamesWhatIsThere) {
  std::filesystem::remove(dir_ / "tokenizer.json");
  const auto said = [&] { return refusal([&] { read_tokenizer_spec(dir_.path()); }, ErrorKind::io); };
  EXPECT_TRUE(mentions(said(), "there is no tokenizer.json"));
  write_text(dir_ / "tokenizer.model", "x");
  EXPECT_TRUE(mentions(said(), "there is tokenizer.model and no tokenizer.json")) << said();
  EXPECT_TRUE(mentions(said(), "save_pretrained")) << said();
}

}  // namespace
}  // namespace kerf::test
