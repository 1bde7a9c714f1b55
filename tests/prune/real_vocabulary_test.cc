// Real tokenizers: what trimming promises, on texts of the data folder.
#include <gtest/gtest.h>

#include <numeric>

#include "core/file.h"
#include "prune/vocabulary.h"
#include "tests/support/data.h"
#include "tests/support/through_gguf.h"

namespace kerf::test {
namespace {

using Ids = std::vector<int32_t>;

// The first so many bytes of a text, up to the end of a line.
std::string head(const std::filesystem::path& file, size_t bytes) {
  std::string text = read_text(file);
  if (text.size() > bytes) text.resize(text.rfind('\n', bytes) + 1);
  return text;
}

class RealVocabulary : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "tinytales") {
      files_ = read_tokenizer_files(example_dir());
      text_ = head(example_dir() / "heldout.txt", 20000);
      others_ = {text_.substr(0, 1000), "naïve café, Größe, Привет, 你好\t 日本語 😀!"};
      return;
    }
    const auto data = data_dir();
    if (!data) GTEST_SKIP() << "no data folder (KERF_DATA)";
    if (!std::filesystem::exists(*data / GetParam() / "tokenizer.json")) GTEST_SKIP() << "no " << GetParam();
    files_ = read_tokenizer_files(*data / GetParam());
    text_ = head(*data / "text" / "tinystories.txt", 100000);
    for (const char* name : {"wiki", "multilingual", "code", "technical"})
      others_.push_back(head(*data / "text" / "calibration" / (std::string(name) + ".utf8"), 50000));
  }
  TrimmedVocabulary trim(const TokenizerFiles& files, int64_t most) const {
    return trim_vocabulary(files, GetParam(), {.texts = {text_}, .most = most});
  }
  Tokenizer tokenizer(const TokenizerFiles& files) const { return Tokenizer(parse_tokenizer_files(files, GetParam())); }
  // The tokens as the original numbers them.
  static Ids originals(const Ids& ids, const TrimmedVocabulary& t) {
    Ids old;
    for (const int32_t id : ids) old.push_back(t.kept[static_cast<size_t>(id)]);
    return old;
  }

  TokenizerFiles files_;
  std::string text_;
  std::vector<std::string> others_;
};

TEST_P(RealVocabulary, SpellsItsTextAsBeforeAndEveryOther) {
  const TrimmedVocabulary t = trim(files_, 0);
  const Tokenizer before = tokenizer(files_), after = tokenizer(t.files);
  EXPECT_EQ(static_cast<int64_t>(t.kept.size()), t.because.all());
  EXPECT_EQ(static_cast<int64_t>(t.kept.size()), after.vocab_size());
  EXPECT_LT(after.vocab_size(), before.vocab_size());
  EXPECT_TRUE(std::is_sorted(t.kept.begin(), t.kept.end(), std::less_equal<>()));
  EXPECT_EQ(std::count(after.spec().types.begin(), after.spec().types.end(), TokenType::unused), 0);
  for (size_t i = 0; i < t.kept.size(); ++i)
    ASSERT_EQ(after.spec().tokens[i], before.spec().tokens[static_cast<size_t>(t.kept[i])]);

  for (const bool special : {false, true})
    EXPECT_EQ(originals(after.encode(text_, special), t), before.encode(text_, special));
  size_t same = 0;
  for (const std::string& other : others_) {
    const Ids now = after.encode(other, false), then = before.encode(other, false);
    EXPECT_EQ(after.decode(now, false), before.decode(then, false));
    EXPECT_GE(now.size(), then.size());
    same += originals(now, t) == then;
  }
  EXPECT_LT(same, others_.size());  // they are other texts
  EXPECT_EQ(after.spec().chat_template, before.spec().chat_template);
  EXPECT_EQ(after.spec().named_tokens, before.spec().named_tokens);
}

// llama.cpp merges the tokenizers of SentencePiece by score, and knows of their merges nothing else.
TEST_P(RealVocabulary, SurvivesTheKeysOfGguf) {
  const Tokenizer after = tokenizer(trim(files_, 0).files), runtime(through_gguf(after.spec()));
  for (std::string text : others_) {
    std::erase(text, '<');  // special tokens in a text: a GGUF file does not say in which form they are sought
    EXPECT_EQ(runtime.encode(text, false), after.encode(text, false));
  }
}

TEST_P(RealVocabulary, TrimmedTwiceIsTrimmedOnce) {
  const TrimmedVocabulary once = trim(files_, 0), twice = trim(once.files, 0);
  Ids all(once.kept.size());
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(twice.kept, all);
  EXPECT_TRUE(twice.files == once.files);
  EXPECT_EQ(once.files, trim(files_, 0).files);
}

TEST_P(RealVocabulary, ALimitIsKeptExactlyAndCostsTheMoreTheLowerItIs) {
  const int64_t used = trim(files_, 0).rows;
  const Tokenizer before = tokenizer(files_);
  const int64_t original = length_of(before, text_).tokens;
  int64_t previous = original;
  for (const int64_t most : {used + 100, used * 3 / 4}) {
    const TrimmedVocabulary t = trim(files_, most);
    EXPECT_EQ(t.rows, most);
    EXPECT_EQ(t.because.all(), most);
    EXPECT_EQ(t.before.tokens, original);
    EXPECT_EQ(t.after.tokens, length_of(tokenizer(t.files), text_).tokens);
    EXPECT_GE(t.after.tokens, previous) << most;
    previous = t.after.tokens;
    const Tokenizer after = tokenizer(t.files);
    EXPECT_EQ(originals(after.encode(text_, false), t) == before.encode(text_, false), most > used);
    for (const std::string& other : others_)
      EXPECT_EQ(after.decode(after.encode(other, false), false), before.decode(before.encode(other, false), false));
  }
  EXPECT_GT(previous, original);
}

INSTANTIATE_TEST_SUITE_P(Data, RealVocabulary,
                         testing::Values("tinytales", "tokenizers/gpt2", "tokenizers/llama2", "tokenizers/llama3.2",
                                         "tokenizers/qwen2.5", "tokenizers/qwen3", "tokenizers/gemma3",
                                         "tokenizers/smollm2", "models/stories15M"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace kerf::test
