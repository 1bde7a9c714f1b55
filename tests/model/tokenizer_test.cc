#include "model/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "model/text/tokenizer_tables.h"
#include "tests/model/tokenizer_golden.h"
#include "tests/support/through_gguf.h"

namespace kerf::test {
namespace {

using Ids = std::vector<int32_t>;

TEST(Tokenizer, InvalidUtf8IsAnErrorThatNamesTheOffset) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  try {
    t.encode("Once\xC3(", true);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(e.what()).find("offset 4"), std::string::npos) << e.what();
  }
}

TEST(Tokenizer, EmbeddedModelsSpecialTokensAreKnown) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  EXPECT_EQ(t.vocab_size(), 4096);
  EXPECT_EQ(t.spec().pre, "gpt-2");
  EXPECT_EQ(t.spec().bos, 0);
  EXPECT_EQ(t.spec().eos, 0);
  EXPECT_TRUE(t.spec().add_bos);
  EXPECT_FALSE(t.spec().add_eos);
  EXPECT_EQ(t.spec().types[0], TokenType::control);
  EXPECT_EQ(t.encode("", true), Ids{0});
  EXPECT_EQ(t.encode("", false), Ids{});
  EXPECT_EQ(t.find("<|endoftext|>"), 0);
  EXPECT_EQ(t.find("no such token"), std::nullopt);
}

TEST(Tokenizer, DecodeInvertsEncodeOfAnyText) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  for (const std::string& s : golden_strings()) EXPECT_EQ(t.decode(t.encode(s, false), false), s);
}

TEST(Tokenizer, ByteLevelSurvivesTheKeysOfGguf) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const Tokenizer u(through_gguf(t.spec()));
  for (const std::string& s : golden_strings()) {
    ASSERT_EQ(u.encode(s, true), t.encode(s, true)) << s;
    ASSERT_EQ(u.decode(t.encode(s, true), true), t.decode(t.encode(s, true), true)) << s;
  }
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const std::string text = read_text(example_dir() / "heldout.txt");
  const Ids wanted = t.encode(text, false);
  std::vector<Ids> found(4);
  std::vector<std::thread> threads;
  for (Ids& ids : found) threads.emplace_back([&] { ids = t.encode(text, false); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : found) EXPECT_EQ(ids, wanted);
}

TEST(Tokenizer, LongRunsTakeNoQuadraticTime) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const auto begin = std::chrono::steady_clock::now();
  for (const char* run : {"a", "ab", " ", "1", "the"}) {
    std::string text;
    while (text.size() < 1000000) text += run;
    const Ids ids = t.encode(text, false);
    EXPECT_EQ(t.decode(ids, false).size(), text.size());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 60.0);  // some 2 s; quadratic time would be 10^12 steps each
}

TEST(Tokenizer, RefusesSpecsThatContradictThemselves) {
  TokenizerSpec spec = {.kind = TokenizerSpec::Kind::spm_bpe, .tokens = {"a", "b"}, .scores = {0, 0}};
  ASSERT_NO_THROW(Tokenizer{spec});
  const auto refused = [&](auto&& change) {
    TokenizerSpec s = spec;
    change(s);
    EXPECT_THROW(Tokenizer{s}, Error);
  };
  refused([](TokenizerSpec& s) { s.tokens.clear(); });
  refused([](TokenizerSpec& s) { s.types = {TokenType::normal}; });
  refused([](TokenizerSpec& s) { s.scores = {1}; });
  refused([](TokenizerSpec& s) { s.scores = {0, std::nanf("")}; });
  refused([](TokenizerSpec& s) { s.bos = 2; });
  refused([](TokenizerSpec& s) { s.eos = -1; });
  refused([](TokenizerSpec& s) { s.tokens[1] = "\xFF"; });
  refused([](TokenizerSpec& s) { s.merges = {"a b"}; });
  refused([](TokenizerSpec& s) {
    s.kind = TokenizerSpec::Kind::byte_level_bpe;
    s.pre = "no-such";
  });
}

TEST(Tokenizer, MergesByScoreWhereThereAreNoMerges) {
  const std::string m = "\xE2\x96\x81";
  const Tokenizer t(
      {.kind = TokenizerSpec::Kind::spm_bpe,
       .tokens = {"<unk>", "a", "b", "c", "ab", "bc", "abc", m, "<0xC3>", "<0xA9>"},
       .types = {TokenType::unknown, TokenType::normal, TokenType::normal, TokenType::normal, TokenType::normal,
                 TokenType::normal, TokenType::normal, TokenType::normal, TokenType::byte, TokenType::byte},
       .scores = {0, 0, 0, 0, -2, -1, -3, 0, 0, 0},
       .unk = 0,
       .add_space_prefix = true});
  EXPECT_EQ(t.encode("ab", false), (Ids{7, 4}));
  EXPECT_EQ(t.encode("abc", false), (Ids{7, 6}));  // bc first, then a + bc
  EXPECT_EQ(t.encode("bca", false), (Ids{7, 5, 1}));
  EXPECT_EQ(t.encode("a\xC3\xA9x", false), (Ids{7, 1, 8, 9, 0}));  // bytes, and the unknown token where one is missing
  EXPECT_EQ(t.decode(Ids{7, 1, 8, 9}, false), "a\xC3\xA9");
}

class SharedSpec : public testing::TestWithParam<const char*> {};

// The scores that stand for merges must give the same ids in a runtime that merges by score.
TEST_P(SharedSpec, SurvivesTheKeysOfGguf) {
  const auto data = data_dir();
  if (!data || !std::filesystem::exists(*data / GetParam())) GTEST_SKIP() << "no data folder (KERF_DATA)";
  const Tokenizer t = Tokenizer::from_directory(*data / GetParam());
  const Tokenizer u(through_gguf(t.spec()));
  for (const char* file : {"tinystories-valid-sample.txt", "calibration/multilingual.utf8", "calibration/code.utf8"}) {
    std::string text = read_text(*data / "text" / file);
    // Special tokens written in a text are another matter: a GGUF file does not say in which form they are sought.
    std::erase(text, '<');
    const bool same = u.encode(text, false) == t.encode(text, false);
    EXPECT_TRUE(same) << file;
  }
}
INSTANTIATE_TEST_SUITE_P(Data, SharedSpec,
                         testing::Values("tokenizers/gpt2", "tokenizers/llama2", "tokenizers/llama3.2",
                                         "tokenizers/qwen2.5", "tokenizers/qwen3", "tokenizers/gemma3",
                                         "tokenizers/smollm2", "models/stories260K"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

// What llama.cpp's converter wrote for these tokenizers (Gemma's from the original SentencePiece file).
TEST(TokenizerTables, AreThoseOfTheConverter) {
  const auto data = data_dir();
  if (!data || !std::filesystem::exists(*data / "tokenizers" / "gemma3")) GTEST_SKIP() << "no data folder (KERF_DATA)";
  const auto tables = [&](const char* name, int64_t rows) {
    TokenizerSpec spec = read_tokenizer_spec(*data / "tokenizers" / name);
    drop_tokens_past(spec, rows);
    return tokenizer_tables(spec, rows);
  };
  const TokenizerTables gemma = tables("gemma3", 262144);
  EXPECT_EQ(gemma.model, "llama");
  EXPECT_EQ(gemma.pre, "default");
  EXPECT_TRUE(gemma.merges.empty());
  ASSERT_EQ(gemma.tokens.size(), 262144u);
  ASSERT_EQ(gemma.types.size(), 262144u);
  ASSERT_EQ(gemma.scores.size(), 262144u);
  std::map<int32_t, int> types;
  for (const int32_t type : gemma.types) ++types[type];
  EXPECT_EQ(types, (std::map<int32_t, int>{{1, 255474}, {3, 6251}, {4, 163}, {6, 256}}));
  for (const int id : {0, 1, 2, 3, 4, 6, 105, 106, 262143}) EXPECT_EQ(gemma.types[static_cast<size_t>(id)], 3) << id;
  for (const int id : {5, 107, 138, 168}) EXPECT_EQ(gemma.types[static_cast<size_t>(id)], 4) << id;
  EXPECT_EQ(gemma.tokens[138], "  ");
  EXPECT_EQ(gemma.tokens[167], std::string(31, ' '));
  EXPECT_EQ(gemma.tokens[494], "\xE2\x96\x81t");
  for (const auto& [id, score] : {std::pair<size_t, float>(0, -1000),
                                  {138, -1000},
                                  {238, 0},
                                  {493, 0},
                                  {494, 0},
                                  {495, -1},
                                  {100000, -99506},
                                  {236742, -236248},
                                  {262143, -1000}})
    EXPECT_EQ(gemma.scores[id], score) << id;

  for (const char* name : {"qwen2.5", "qwen3"}) {
    const TokenizerTables qwen = tables(name, 151936);
    EXPECT_EQ(qwen.model, "gpt2");
    EXPECT_EQ(qwen.pre, "qwen2");
    EXPECT_EQ(qwen.merges.size(), 151387u);
    EXPECT_TRUE(qwen.scores.empty());
    EXPECT_EQ(qwen.tokens[151935], "[PAD151935]");
    EXPECT_EQ(qwen.types[151935], 5);
    EXPECT_EQ(qwen.types[151642], 1);
    for (size_t id = 151643; id < 151665; ++id) EXPECT_EQ(qwen.types[id], id == 151657 || id == 151658 ? 4 : 3) << id;
    for (size_t id = 151665; id < 151669; ++id) EXPECT_EQ(qwen.types[id], name[4] == '3' ? 4 : 5) << id;
  }
}

TEST(TokenizerTables, OfTooFewRowsAreRefusedUnlessAddedTokensCanGo) {
  const TokenizerSpec spec = {.kind = TokenizerSpec::Kind::spm_bpe,
                              .tokens = {"a", "b", "<image>"},
                              .types = {TokenType::normal, TokenType::normal, TokenType::control},
                              .scores = {0, 0, 0},
                              .added = {{.id = 2, .content = "<image>", .special = true}}};
  EXPECT_THROW(tokenizer_tables(spec, 2), Error);
  TokenizerSpec fitted = spec;
  drop_tokens_past(fitted, 2);
  EXPECT_EQ(tokenizer_tables(fitted, 2).tokens, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(fitted.added.empty());
  for (const auto& change : {+[](TokenizerSpec& s) { s.eos = 2; }, +[](TokenizerSpec& s) { s.prefix = {2}; },
                             +[](TokenizerSpec& s) { s.added[0].in_model = true; }}) {
    TokenizerSpec kept = spec;
    change(kept);
    drop_tokens_past(kept, 2);
    EXPECT_EQ(kept.tokens.size(), 3u);
  }
  fitted = spec;
  fitted.eos = fitted.pad = fitted.unk = 2;
  fitted.ends = {2, 1};
  drop_tokens_past(fitted, 2);
  EXPECT_EQ(fitted.eos, 1);
  EXPECT_TRUE(fitted.ends.empty());
  EXPECT_FALSE(fitted.pad || fitted.unk);
  fitted = spec;
  drop_tokens_past(fitted, 3);
  EXPECT_EQ(fitted.tokens.size(), 3u);
}

// llama.cpp's own vectors: texts, and the ids that its authors took from the original tokenizers.
struct Vectors {
  const char* tokenizer;
  const char* name;
};
class LlamaCppVectors : public testing::TestWithParam<Vectors> {};

TEST_P(LlamaCppVectors, AreReproduced) {
  const auto data = data_dir();
  if (!data) GTEST_SKIP() << "no data folder (KERF_DATA)";
  const std::string base = (*data / "vectors" / "tokenizer" / GetParam().name).string();
  if (!std::filesystem::exists(base + ".inp")) GTEST_SKIP() << "no " << base;
  const Tokenizer t = Tokenizer::from_directory(*data / "tokenizers" / GetParam().tokenizer);
  const std::string input = read_text(base + ".inp"), separator = "\n__ggml_vocab_test__\n";
  std::istringstream output(read_text(base + ".out"));
  std::string line;
  int texts = 0;
  for (size_t begin = 0; begin < input.size();) {
    const size_t end = std::min(input.find(separator, begin), input.size());
    const std::string text = input.substr(begin, end - begin);
    begin = end + separator.size();
    ASSERT_TRUE(std::getline(output, line));
    std::istringstream numbers(line);
    const Ids wanted{std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>()};
    EXPECT_EQ(t.encode(text, false), wanted) << testing::PrintToString(text);
    ++texts;
  }
  EXPECT_GT(texts, 40);
}
INSTANTIATE_TEST_SUITE_P(Data, LlamaCppVectors,
                         testing::Values(Vectors{"gpt2", "ggml-vocab-gpt-2.gguf"},
                                         Vectors{"llama3.2", "ggml-vocab-llama-bpe.gguf"},
                                         Vectors{"qwen2.5", "ggml-vocab-qwen2.gguf"},
                                         Vectors{"llama2", "ggml-vocab-llama-spm.gguf"}),
                         [](const auto& info) {
                           return std::string(info.param.tokenizer == std::string("llama3.2")  ? "llama3"
                                              : info.param.tokenizer == std::string("qwen2.5") ? "qwen2"
                                                                                               : info.param.tokenizer);
                         });

}  // namespace
}  // namespace kerf::test
