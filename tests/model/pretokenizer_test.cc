// The scanners against the regular expressions they stand for, run by PCRE2.
#include "model/text/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "model/text/pretokenizer_regex.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

using Words = std::vector<std::string>;

Words split(const std::vector<PreTokenizerStep>& steps, std::string_view text) {
  Words words;
  PreTokenizer(steps).split(text, true, [&](std::string_view w) { words.emplace_back(w); });
  return words;
}

// Characters that every version of Unicode since 9 classes alike, white space and apostrophes often.
std::string random_text(std::mt19937_64& rng) {
  static const std::vector<uint32_t> characters = {
      'a',  'b',  'S',  's',   't',  'T',    'r',     'R',     'e',    'E',    'v',  'm',   'l',
      'L',  'd',  'D',  0x17F, 0xE9, 0x4E00, 0x1D400, '1',     '2',    '9',    0xBD, 0x663, 0x2167,
      '\'', '\'', '\'', '.',   '-',  '<',    0x301,   0x1F600, 0x2019, ' ',    ' ',  ' ',   ' ',
      '\n', '\n', '\r', '\t',  0xA0, 0x85,   0x2028,  0x3000,  0x180E, 0x200B, 0x1F, 0};
  std::string s;
  for (uint64_t n = rng() % 24; n > 0; --n) append_utf8(s, characters[rng() % characters.size()]);
  return s;
}

class Scanner : public testing::TestWithParam<std::string_view> {};

TEST_P(Scanner, CutsAsItsPatternDoes) {
  const SplitRegex regex{std::string(GetParam())};
  const PreTokenizer scanner({{.kind = PreTokenizerStep::Kind::pattern, .regex = std::string(GetParam())}});
  std::mt19937_64 rng(7);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(rng);
    Words wanted, words;
    regex.split(text, [&](std::string_view w) { wanted.emplace_back(w); });
    scanner.split(text, true, [&](std::string_view w) { words.emplace_back(w); });
    ASSERT_EQ(words, wanted) << testing::PrintToString(text);
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, Scanner, testing::Values(kGpt2Pattern, kLlama3Pattern, kQwen2Pattern),
                         [](const auto& info) {
                           return info.index == 0 ? "gpt2" : info.index == 1 ? "llama3" : "qwen2";
                         });

TEST(PreTokenizer, Gpt2) {
  const auto steps = pre_tokenizer_steps("gpt-2");
  EXPECT_EQ(split(steps, "Don't  stop 42nd\n\n x"), (Words{"Don", "'t", " ", " stop", " 42", "nd", "\n\n", " x"}));
  EXPECT_EQ(split(steps, ""), Words{});
}

TEST(PreTokenizer, SmolLmTakesDigitsOneByOneAndCutsWordsThere) {
  EXPECT_EQ(split(pre_tokenizer_steps("smollm"), "a 12 b"), (Words{"a", " ", "1", "2", " b"}));
}

TEST(PreTokenizer, Llama3TakesDigitsByThreesAndQwen2OneByOne) {
  EXPECT_EQ(split(pre_tokenizer_steps("llama-bpe"), "x=12345;\n"), (Words{"x", "=", "123", "45", ";\n"}));
  EXPECT_EQ(split(pre_tokenizer_steps("qwen2"), "x 12"), (Words{"x", " ", "1", "2"}));
}

TEST(PreTokenizer, TekkenCutsAtCapitals) {
  // As Mistral Nemo's tokenizer.json spells it.
  const std::string regex =
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
      R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto steps = pre_tokenizer_steps("tekken");
  EXPECT_EQ(steps[0].regex, regex);
  EXPECT_EQ(split(steps, "aWord HTTPServer 12"), (Words{"a", "Word", " HTTPServer", " ", "1", "2"}));
}

TEST(PreTokenizer, NamesAreThoseOfLlamaCpp) {
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default", "tekken", "gpt-4o"}) {
    EXPECT_EQ(pre_tokenizer_name(pre_tokenizer_steps(name)), name);
  }
  EXPECT_EQ(pre_tokenizer_name({{.kind = PreTokenizerStep::Kind::digits}}), "");
  try {
    pre_tokenizer_steps("no-such");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("smollm"), std::string::npos) << e.what();
  }
}

TEST(PreTokenizer, RefusesARegularExpressionThatDoesNotCompile) {
  try {
    PreTokenizer({{.kind = PreTokenizerStep::Kind::pattern, .regex = "(a"}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(e.what()).find("(a"), std::string::npos);
  }
}

TEST(PreTokenizer, GivesUpOnABacktrackingExplosionWithAnError) {
  const PreTokenizer bomb({{.kind = PreTokenizerStep::Kind::pattern, .regex = "(a|aa|a{1,9})+$[^a]"}});
  EXPECT_THROW(bomb.split(std::string(5000, 'a'), true, [](std::string_view) {}), Error);
}

}  // namespace
}  // namespace kerf
