// JSON nested without end, in every file of a model that kerf reads: a sentence and exit code 3, never a crash.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/chat/calibration_text.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "verify/artifact.h"
#include "verify/correspondence.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

const std::string kOpen(300000, '['), kClose(300000, ']');

// The embedded model with text of its own in one file.
void refused(const std::string& file, const std::string& text) {
  const test::TempDir dir;
  for (const auto& entry : fs::directory_iterator(test::example_dir()))
    if (entry.path().filename() != file) fs::copy(entry.path(), dir / entry.path().filename());
  if (file.ends_with(".index.json")) fs::remove(dir / "model.safetensors");
  write_text(dir / file, text);
  const std::string said = test::refusal([&] { open_artifact(dir.path()).tokenizer(); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, file)) << said;
  EXPECT_TRUE(test::mentions(said, "nests deeper than ")) << said;
  EXPECT_LT(said.size(), 300u);
}

std::string with_key(const std::string& file, const std::string& key) {
  std::string text = read_text(test::example_dir() / file);
  text.insert(text.find('{') + 1, "\"" + key + "\": " + kOpen + kClose + ",");
  return text;
}

TEST(NestedJson, UnderAKnownKeyOfConfig) { refused("config.json", with_key("config.json", "rope_scaling")); }
TEST(NestedJson, UnderAnUnknownKeyOfConfig) { refused("config.json", with_key("config.json", "whatever")); }
TEST(NestedJson, AsQuantizationConfig) { refused("config.json", with_key("config.json", "quantization_config")); }
TEST(NestedJson, InTokenizer) { refused("tokenizer.json", with_key("tokenizer.json", "decoder")); }
TEST(NestedJson, InTokenizerConfig) {
  refused("tokenizer_config.json", with_key("tokenizer_config.json", "chat_template"));
}
TEST(NestedJson, InGenerationConfig) {
  refused("generation_config.json", with_key("generation_config.json", "eos_token_id"));
}
TEST(NestedJson, InSpecialTokensMap) { refused("special_tokens_map.json", "{\"bos_token\": " + kOpen + kClose + "}"); }
TEST(NestedJson, InIndex) {
  refused("model.safetensors.index.json", "{\"metadata\": " + kOpen + kClose + ", \"weight_map\": {}}");
}

TEST(NestedJson, InALineOfChats) {
  const TokenizerSpec spec;
  const std::string text = "{\"messages\": " + kOpen + kClose + "}";
  Records lines(text, "chats.jsonl", spec, "a model");
  const std::string said = test::refusal([&] { lines.document(0); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "chats.jsonl, line 1 nests deeper than")) << said;
}

TEST(NestedJson, InACorrespondence) {
  const test::TempDir dir;
  write_text(dir / kCorrespondenceFile, "{\"layers\": " + kOpen + kClose + "}");
  const std::string said = test::refusal([&] { read_correspondence(dir.path()); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "nests deeper than")) << said;
}

}  // namespace
}  // namespace kerf
