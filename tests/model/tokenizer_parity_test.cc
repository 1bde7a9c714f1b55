// Ids and decoded text equal to those of the Hugging Face library, by goldens that it made.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/model/tokenizer_golden.h"

namespace kerf::test {
namespace {

using json = nlohmann::json;
using Ids = std::vector<int32_t>;

// A case is [text, ids, ids with the template, decoded, decoded without special tokens].
void expect_case(const Tokenizer& t, const json& c, const std::string& what) {
  const auto text = c[0].get<std::string>();
  EXPECT_EQ(t.encode(text, false), c[1].get<Ids>()) << what << ": \"" << text << '"';
  EXPECT_EQ(t.encode(text, true), c[2].get<Ids>()) << what << ": \"" << text << '"';
  EXPECT_EQ(t.decode(c[1].get<Ids>(), false), c[3].get<std::string>()) << what << ": \"" << text << '"';
  EXPECT_EQ(t.decode(c[1].get<Ids>(), true), c[4].get<std::string>()) << what << ": \"" << text << '"';
}

TEST(TokenizerParity, EmbeddedModelOnAdversarialStrings) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const json wanted = golden("embedded.json");
  ASSERT_GT(wanted["cases"].size(), 50u);
  for (const json& c : wanted["cases"]) expect_case(t, c, "tinytales");
  const std::vector<std::string> strings = golden_strings();
  ASSERT_EQ(strings.size(), wanted["strings"].size());
  for (size_t i = 0; i < strings.size(); ++i) {
    expect_digest(t, strings[i], wanted["strings"][i], fmt::format("{}: {}", i, strings[i].substr(0, 100)));
  }
}

TEST(TokenizerParity, EmbeddedModelOnItsTexts) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const json wanted = golden("embedded.json");
  for (const auto& [name, digest] : wanted["files"].items()) {
    expect_digest(t, read_text(example_dir() / name), digest, name);
  }
}

TEST(TokenizerParity, EmbeddedModelOnEveryCodePoint) {
  const Tokenizer t = Tokenizer::from_directory(example_dir());
  const json planes = golden("embedded.json")["code_points"];
  ASSERT_EQ(planes.size(), 17u);
  for (uint32_t p = 0; p < 17; ++p) {
    expect_digest(t, code_points(p << 16, (p + 1) << 16), planes[p], fmt::format("plane {}", p));
  }
}

TEST(TokenizerParity, FlagsTemplatesNormalizersAndDecodersOneByOne) {
  const json wanted = golden("small.json");
  for (const json& variant : wanted["variants"]) {
    json definition = wanted["base"];
    definition.update(variant["change"]);
    definition["model"].update(variant["model"]);
    const Tokenizer t(parse_tokenizer_json(definition.dump(), variant["name"].get<std::string>()));
    for (const json& c : variant["cases"]) expect_case(t, c, variant["name"].get<std::string>());
  }
}

// One test per tokenizer of the data folder.
class SharedTokenizer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto data = data_dir();
    if (!data) GTEST_SKIP() << "no data folder (KERF_DATA)";
    data_ = *data;
    if (!std::filesystem::exists(data_ / GetParam() / "tokenizer.json")) GTEST_SKIP() << "no " << GetParam();
    wanted_ = golden("shared.json")["tokenizers"][GetParam()];
    tokenizer_.emplace(Tokenizer::from_directory(data_ / GetParam()));
  }
  std::filesystem::path data_;
  json wanted_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_P(SharedTokenizer, EqualsTheLibraryOnEveryText) {
  for (const auto& [file, digest] : wanted_["files"].items()) {
    if (std::filesystem::exists(data_ / file)) expect_digest(*tokenizer_, read_text(data_ / file), digest, file);
  }
}

TEST_P(SharedTokenizer, EqualsTheLibraryOnEveryCodePoint) {
  for (uint32_t p = 0; p < 17; ++p) {
    expect_digest(*tokenizer_, code_points(p << 16, (p + 1) << 16), wanted_["code_points"][p],
                  fmt::format("plane {}", p));
  }
}

TEST_P(SharedTokenizer, EqualsTheLibraryOnAdversarialStrings) {
  const std::vector<std::string> strings = golden_strings();
  ASSERT_EQ(strings.size(), wanted_["strings"].size());
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string& text = strings[i];
    const std::string both =
        hash_of(tokenizer_->encode(text, true)) + fnv(tokenizer_->decode(tokenizer_->encode(text, false), false));
    EXPECT_EQ(fnv(both), wanted_["strings"][i].get<std::string>()) << i << ": " << text.substr(0, 100);
  }
}

INSTANTIATE_TEST_SUITE_P(Data, SharedTokenizer,
                         testing::Values("tokenizers/gpt2", "tokenizers/llama2", "tokenizers/llama3.2",
                                         "tokenizers/qwen2.5", "tokenizers/qwen3", "tokenizers/gemma3",
                                         "tokenizers/smollm2", "models/stories15M", "models/stories260K",
                                         "models/tinytales"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace kerf::test
