// Small tokenizers, where every token that stays can be said by hand.
#include "prune/vocabulary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "tests/prune/small_tokenizer.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

using json = nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

json small() { return json::parse(test::kSmallTokenizer); }

TokenizerFiles files_of(const json& tokenizer) { return {{"tokenizer.json", tokenizer.dump(2)}}; }

TrimmedVocabulary trim(const TokenizerFiles& files, VocabularyRequest request) {
  return trim_vocabulary(files, "model", request);
}
TrimmedVocabulary trim(const json& tokenizer, std::string text, int64_t most = 0) {
  return trim(files_of(tokenizer), {.texts = {std::move(text)}, .most = most});
}

std::vector<std::string> kept_tokens(const TrimmedVocabulary& t) {
  return parse_tokenizer_files(t.files, "model").tokens;
}

TEST(Vocabulary, KeepsWhatTheTextsUseAndWhatThatIsMadeOf) {
  const TrimmedVocabulary t = trim(small(), "hello hello");
  EXPECT_EQ(t.kept, (Ids{0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 19}));
  EXPECT_EQ(kept_tokens(t), (std::vector<std::string>{"<unk>", "<s>", "h", "e", "l", "o", "p", "▁", "é", "he", "ll",
                                                      "llo", "hello", "▁hello"}));
  EXPECT_EQ(t.rows, 14);
  EXPECT_EQ(t.tokens, 22);
  EXPECT_EQ(t.fillers, 2);
  EXPECT_EQ(t.because.added, 2);
  EXPECT_EQ(t.because.alphabet, 7);  // no bytes: every character
  EXPECT_EQ(t.because.used, 2);
  EXPECT_EQ(t.because.parts, 3);
  EXPECT_EQ(t.because.all(), 14);
  EXPECT_EQ(t.before.tokens, 2);
  EXPECT_EQ(t.after.tokens, 2);
  EXPECT_EQ(t.before.characters, 11);
}

TEST(Vocabulary, ChangesOfTheFileVocabularyMergesAddedTokensAndIdsAlone) {
  json wanted = small();
  const TrimmedVocabulary t =
      trim(TokenizerFiles{{"tokenizer.json", test::kSmallTokenizer}}, {.texts = {"hello hello"}});
  wanted["added_tokens"].erase(3);
  wanted["added_tokens"].erase(2);
  json vocab = json::object();
  for (const std::string& token : kept_tokens(t)) vocab[token] = vocab.size();
  wanted["model"]["vocab"] = vocab;
  wanted["model"]["merges"] = json::parse(R"([["h","e"],["l","l"],["ll","o"],["he","llo"],["▁","hello"]])");
  EXPECT_EQ(json::parse(t.files.at("tokenizer.json")).dump(2), wanted.dump(2));
  // The bytes in between, one line of which the library would write otherwise.
  EXPECT_TRUE(test::mentions(t.files.at("tokenizer.json"),
                             R"(  "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},)"));
  EXPECT_TRUE(test::mentions(t.files.at("tokenizer.json"), "      [\n        \"h\",\n        \"e\"\n      ],\n"));
}

TEST(Vocabulary, MergesKeepTheirFormAndTheirOrder) {
  json tokenizer = small();
  for (json& merge : tokenizer["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  const TrimmedVocabulary t = trim(tokenizer, "help");
  EXPECT_EQ(json::parse(t.files.at("tokenizer.json"))["model"]["merges"], json({"h e", "he l", "hel p"}));
}

TEST(Vocabulary, RenumbersTheTemplateAndThePadding) {
  json tokenizer = small();
  // <s> comes last, and <pad> is named by the padding alone.
  for (auto& token : tokenizer["added_tokens"]) token["id"] = token["id"].get<int>() == 1 ? 21 : token["id"].get<int>();
  tokenizer["model"]["vocab"]["▁help"] = 1;
  tokenizer["model"]["vocab"]["<s>"] = 21;
  tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = {21};
  tokenizer["padding"]["pad_id"] = 15;
  const TrimmedVocabulary t = trim(tokenizer, "he");
  const json after = json::parse(t.files.at("tokenizer.json"));
  EXPECT_EQ(t.kept, (Ids{0, 4, 5, 6, 7, 8, 9, 10, 11, 15, 21}));  // 15 is the padding's
  EXPECT_EQ(after["padding"]["pad_id"], 9);
  EXPECT_EQ(after["post_processor"]["special_tokens"]["<s>"]["ids"], json({10}));
  EXPECT_EQ(after["added_tokens"][1]["id"], 10);
  EXPECT_EQ(Tokenizer(parse_tokenizer_files(t.files, "model")).encode("he", true), (Ids{10, 8}));
}

TEST(Vocabulary, WithALimitTheCheapestLossesGoFirst) {
  const std::string text = "hello hello help help help";
  const TrimmedVocabulary t13 = trim(small(), text, 13), t12 = trim(small(), text, 12);
  EXPECT_EQ(t13.kept, (Ids{0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 14, 18, 21}));  // he, hel, help, U+2581 help
  EXPECT_EQ(t12.kept, (Ids{0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 14, 18}));
  EXPECT_EQ(t13.before.tokens, 5);
  EXPECT_EQ(t13.after.tokens, 10);  // hel l o, U+2581 hel l o, three times U+2581 help
  EXPECT_EQ(t13.because.used, 2);   // U+2581 help, and he in place of hello
  EXPECT_EQ(t13.because.parts, 2);
  const TrimmedVocabulary all = trim(small(), text, 20);
  EXPECT_EQ(all.kept.size(), 20u);
  EXPECT_EQ(all.because.rest, 3);  // hell, lo, U+2581 he
  EXPECT_EQ(all.after.tokens, 5);
}

TEST(Vocabulary, SaysTheLeastAndTheMostThatALimitCanBe) {
  const auto said = [](int64_t most) { return test::refusal([&] { trim(small(), "hello", most); }, ErrorKind::usage); };
  EXPECT_TRUE(test::mentions(said(8), "8 tokens are asked for, and 9 must stay")) << said(8);
  EXPECT_EQ(trim(small(), "hello", 9).kept.size(), 9u);
  EXPECT_TRUE(test::mentions(said(21), "21 tokens is asked for, and only 20")) << said(21);
}

TEST(Vocabulary, RefusesTextsThatUseNoToken) {
  for (const char* text : {"", "xyz"})
    EXPECT_TRUE(test::mentions(test::refusal([&] { trim(small(), text); }, ErrorKind::bad_input), "use none of them"));
  EXPECT_TRUE(test::mentions(test::refusal([] { trim(files_of(small()), {.most = 12}); }, ErrorKind::bad_input),
                             "(0 characters)"));
  EXPECT_TRUE(test::mentions(test::refusal([] { trim(small(), "\xFF"); }, ErrorKind::bad_input), "UTF-8"));
}

TEST(Vocabulary, RefusesOtherModelsByName) {
  json tokenizer = small();
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"}) {
    tokenizer["model"]["type"] = type;
    EXPECT_TRUE(test::mentions(test::refusal([&] { trim(tokenizer, "hello"); }, ErrorKind::unsupported), type));
  }
  EXPECT_TRUE(test::mentions(test::refusal([] { trim(TokenizerFiles{}, {.texts = {"a"}}); }, ErrorKind::io),
                             "there is no tokenizer.json"));
}

TEST(Vocabulary, UnknownCharactersStayUnknown) {
  const TrimmedVocabulary t = trim(small(), "hello xx");
  const Tokenizer before(parse_tokenizer_files(files_of(small()), "model")),
      after(parse_tokenizer_files(t.files, "model"));
  EXPECT_EQ(before.encode("xxé", false), (Ids{0, 10}));
  EXPECT_EQ(after.encode("xxé", false), (Ids{0, 8}));
}

TEST(Vocabulary, FillersStayWhereTextsOrFilesMentionThem) {
  EXPECT_EQ(trim(small(), "hello<unused1>").fillers, 1);
  TokenizerFiles files = files_of(small());
  files["tokenizer_config.json"] = R"({"pad_token": "<unused0>", "added_tokens_decoder": {
    "2": {"content": "<unused0>", "special": true}, "3": {"content": "<unused1>", "special": true}}})";
  const TrimmedVocabulary t = trim(files, {.texts = {"hello"}});
  EXPECT_EQ(t.fillers, 1);
  EXPECT_EQ(parse_tokenizer_files(t.files, "model").pad, 2);
  files.erase("tokenizer_config.json");
  files["generation_config.json"] = R"({"eos_token_id": [3], "suppress_tokens": [2]})";
  const TrimmedVocabulary named = trim(files, {.texts = {"hello"}});
  EXPECT_EQ(named.fillers, 1);
  EXPECT_EQ(json::parse(named.files.at("generation_config.json")),
            json::parse(R"({"eos_token_id": [2], "suppress_tokens": []})"));
  files["chat_template.jinja"] = "{{ '<unused0>' }}";
  EXPECT_EQ(trim(files, {.texts = {"hello"}}).fillers, 0);
}

TEST(Vocabulary, KnowsFillersByTheirNames) {
  json tokenizer = small();
  const std::vector<std::string> fillers = {
      "<|reserved_special_token_12|>", "[PAD7]",       "<reserved_3>", "[unused41]",
      "<｜place▁holder▁no▁5｜>",       "<SPECIAL_20>", "<|dummy_1|>"};
  const std::vector<std::string> others = {"<|im_start|>", "<extra_id_0>", "<unused>", "<start_of_turn>",
                                           "unused1",      "<pad>",        "[7]",      "<2>"};
  for (const auto& names : {fillers, others})
    for (const std::string& name : names) {
      const size_t id = tokenizer["model"]["vocab"].size();
      tokenizer["model"]["vocab"][name] = id;
      tokenizer["added_tokens"].push_back({{"id", id}, {"content", name}, {"special", true}});
    }
  const TrimmedVocabulary t = trim(tokenizer, "hello");
  EXPECT_EQ(t.fillers, 2 + static_cast<int64_t>(fillers.size()));
  EXPECT_EQ(t.because.added, 2 + static_cast<int64_t>(others.size()));
}

TEST(Vocabulary, KeepsWhatTheChatTemplateSays) {
  TokenizerFiles files = files_of(small());
  const std::string jinja = "{# ▁he #}{% if m.role == \"help\" %}hell{{ m['lo'] + '\\u' }}{% endif %}";
  files["chat_template.jinja"] = jinja;
  const TrimmedVocabulary t = trim(files, {.texts = {"o"}});
  EXPECT_EQ(t.kept, (Ids{0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 18}));  // he, ll, lo, hel of help, help
  EXPECT_EQ(t.because.named, 4);
  EXPECT_EQ(t.because.parts, 1);
  EXPECT_EQ(t.files.at("chat_template.jinja"), jinja);
}

TEST(Vocabulary, HolesInTheNumberingGo) {
  json tokenizer = small();
  tokenizer["model"]["vocab"]["▁help"] = 40;
  const TrimmedVocabulary t = trim(tokenizer, "hello help");
  EXPECT_EQ(t.kept.back(), 40);
  EXPECT_EQ(t.tokens, 22);
  EXPECT_EQ(parse_tokenizer_files(t.files, "model").tokens.size(), t.kept.size());
}

TEST(Vocabulary, CharactersThatBytesSpellGoAndBytesStay) {
  json tokenizer = small();
  tokenizer["model"]["byte_fallback"] = true;
  for (int b = 0; b < 256; ++b) tokenizer["model"]["vocab"][fmt::format("<0x{:02X}>", b)] = 22 + b;
  const TrimmedVocabulary t = trim(tokenizer, "hello hello");
  EXPECT_EQ(t.because.alphabet, 256 + 1);  // and U+2581, which the normalizer puts in
  const Tokenizer after(parse_tokenizer_files(t.files, "model"));
  EXPECT_EQ(after.find("é"), std::nullopt);
  EXPECT_EQ(after.find("p"), std::nullopt);
  EXPECT_EQ(after.decode(after.encode("help é 日本", false), false), "help é 日本");

  tokenizer["model"]["vocab"].erase("<0xA9>");  // without it no bytes spell é
  tokenizer["model"]["vocab"]["<0xFF>"] = 22 + 0xA9;
  EXPECT_TRUE(Tokenizer(parse_tokenizer_files(trim(tokenizer, "hello").files, "model")).find("é"));
}

// A byte instead of a character is no more tokens, but another one.
TEST(Vocabulary, WithALimitCharactersOfOneByteAreWorthAToken) {
  json tokenizer = small();
  tokenizer["model"]["byte_fallback"] = true;
  for (int b = 0; b < 256; ++b) tokenizer["model"]["vocab"][fmt::format("<0x{:02X}>", b)] = 22 + b;
  const TrimmedVocabulary t = trim(tokenizer, "p p p help", 2 + 257 + 1);
  EXPECT_TRUE(Tokenizer(parse_tokenizer_files(t.files, "model")).find("p"));
}

TEST(Vocabulary, WholeWordsThatNoMergeMakesAreKept) {
  json tokenizer = small();
  tokenizer["model"]["ignore_merges"] = true;
  tokenizer["model"]["vocab"]["ollo"] = 22;
  const TrimmedVocabulary t = trim(tokenizer, "ollo");
  EXPECT_EQ(t.kept, (Ids{0, 1, 4, 5, 6, 7, 8, 9, 10, 22}));
  EXPECT_EQ(t.after.tokens, 1);
}

TEST(Vocabulary, TokensWithoutARowStayBehindTheRows) {
  json tokenizer = small();
  tokenizer["added_tokens"].push_back({{"id", 22}, {"content", "<image>"}, {"special", true}});
  TokenizerFiles files = files_of(tokenizer);
  files["config.json"] = R"({"vocab_size": 22, "image_token_index": 22, "bos_token_id": 1})";
  const TrimmedVocabulary t = trim(files, {.texts = {"hello"}, .rows = 22});
  EXPECT_EQ(t.kept.back(), 22);
  EXPECT_EQ(t.rows, static_cast<int64_t>(t.kept.size()) - 1);
  EXPECT_EQ(json::parse(t.files.at("config.json")),
            json({{"vocab_size", t.rows}, {"image_token_index", t.rows}, {"bos_token_id", 1}}));
}

// The library numbers added tokens that are no tokens of the model from the number of those on.
TEST(Vocabulary, RefusesWhatTheLibraryWouldNumberOtherwise) {
  json tokenizer = small();
  tokenizer["model"]["vocab"]["▁help"] = 23;
  tokenizer["added_tokens"].push_back({{"id", 22}, {"content", "<end>"}, {"special", true}});
  EXPECT_TRUE(test::mentions(test::refusal([&] { trim(tokenizer, "help help"); }, ErrorKind::unsupported),
                             "would not give \"<end>\" the number of its row"));
}

TEST(Vocabulary, SideFilesKeepEverythingElse) {
  TokenizerFiles files = files_of(small());
  files["tokenizer_config.json"] = R"({
  "model_max_length": 1000000000000000019884624838656,
  "added_tokens_decoder": {
    "0": {"content": "<unk>", "special": true},
    "3": {"content": "<unused1>", "special": true},
    "1": {"content": "<s>", "special": true}
  },
  "bos_token": "<s>"
})";
  files["added_tokens.json"] = R"({"<unused0>": 2, "<s>": 1})";
  files["vocab.json"] = "{}";
  files["merges.txt"] = "#version: 0.2\nh e\n";
  files["special_tokens_map.json"] = R"({"bos_token":"<s>"})";
  const TrimmedVocabulary t = trim(files, {.texts = {"help"}});
  EXPECT_EQ(t.files.at("tokenizer_config.json"), R"({
  "model_max_length": 1000000000000000019884624838656,
  "added_tokens_decoder": {
    "0": {
      "content": "<unk>",
      "special": true
    },
    "1": {
      "content": "<s>",
      "special": true
    }
  },
  "bos_token": "<s>"
})");
  EXPECT_EQ(t.files.at("added_tokens.json"), "{\n  \"<s>\": 1\n}\n");
  EXPECT_EQ(t.files.at("merges.txt"), "#version: 0.2\nh e\nhe l\nhel p\n");
  EXPECT_EQ(json::parse(t.files.at("vocab.json")), json::parse(t.files.at("tokenizer.json"))["model"]["vocab"]);
  EXPECT_EQ(t.files.at("special_tokens_map.json"), files["special_tokens_map.json"]);
  EXPECT_EQ(t.files.size(), files.size());
}

TEST(Vocabulary, TrimmedTwiceIsTrimmedOnce) {
  for (const int64_t most : {0, 13}) {
    const VocabularyRequest request{.texts = {"hello help", " help help"}, .most = most};
    const TrimmedVocabulary once = trim(files_of(small()), request), twice = trim(once.files, request);
    Ids all(once.kept.size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(twice.kept, all);
    EXPECT_EQ(twice.files, once.files);
    EXPECT_EQ(twice.after.tokens, once.after.tokens);
  }
}

TEST(Vocabulary, KnowsTheFilesThatItCannotRewrite) {
  for (const char* file : {"tokenizer.model", "tiktoken.model", "tekken.json", "spiece.model"})
    EXPECT_TRUE(is_other_vocabulary(file)) << file;
  for (const char* file : {"tokenizer.json", "vocab.json", "merges.txt", "config.json"})
    EXPECT_FALSE(is_other_vocabulary(file)) << file;
}

TEST(RenumberedIds, AtEveryKeyThatHoldsThem) {
  const Ids kept = {1, 3, 5, 8};
  const json config = json::parse(R"({
    "vocab_size": 9, "hidden_size": 8, "bos_token_id": 3, "eos_token_id": [8, 2, 5], "pad_token_id": -1,
    "decoder_start_token_id": null, "image_token_index": 7, "suppress_tokens": [0, 1, 2, 3],
    "begin_suppress_tokens": [8], "bad_words_ids": [[1, 2], [3, 5]], "force_words_ids": [[[1, 3], [8]]],
    "forced_decoder_ids": [[1, 5], [2, null]], "sequence_bias": [[[3, 8], 5], [[2], 1.5]],
    "lang_to_id": {"<|en|>": 5, "<|de|>": 4}, "label2id": {"a": 3},
    "text_config": {"vocab_size": 9, "eos_token_id": 8}, "vision_config": {"vocab_size": 3}})");
  EXPECT_EQ(renumbered_ids(config, kept, 4).dump(2), json::parse(R"({
    "vocab_size": 4, "hidden_size": 8, "bos_token_id": 1, "eos_token_id": [3, 2], "pad_token_id": -1,
    "decoder_start_token_id": null, "image_token_index": null, "suppress_tokens": [0, 1],
    "begin_suppress_tokens": [3], "bad_words_ids": [[1, 2]], "force_words_ids": [[[0, 1], [3]]],
    "forced_decoder_ids": [[1, 2], [2, null]], "sequence_bias": [[[1, 3], 5]],
    "lang_to_id": {"<|en|>": 2}, "label2id": {"a": 3},
    "text_config": {"vocab_size": 4, "eos_token_id": 3}, "vision_config": {"vocab_size": 3}})")
                                                         .dump(2));
}

}  // namespace
}  // namespace kerf
