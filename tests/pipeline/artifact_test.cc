// Models whose parts contradict each other: each is refused with a sentence that names the trouble.
#include "verify/artifact.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/compress.h"
#include "pipeline/tokenizer_path.h"
#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

void expect_refusal(const fs::path& model, ErrorKind kind, std::string_view mentioned) {
  try {
    open_artifact(model);
    ADD_FAILURE() << "accepted; should mention " << mentioned;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_NE(std::string_view(e.what()).find(mentioned), std::string_view::npos) << e.what();
  }
}

// The embedded model with a changed config.json.
struct Changed {
  explicit Changed(const std::function<void(json&)>& change) {
    for (const auto& entry : fs::directory_iterator(test::example_dir()))
      fs::copy(entry.path(), dir / entry.path().filename());
    json config = json::parse(read_text(dir / "config.json"));
    change(config);
    fs::remove(dir / "config.json");
    write_text(dir / "config.json", config.dump());
  }
  test::TempDir dir;
};

TEST(Checkpoint, WithAConfigThatContradictsItsTensorsIsRefused) {
  const auto refuse = [](const std::function<void(json&)>& change, ErrorKind kind, std::string_view mentioned) {
    const Changed model(change);
    expect_refusal(model.dir.path(), kind, mentioned);
  };
  refuse([](json& c) { c["vocab_size"] = 5000; }, ErrorKind::bad_input, "embed_tokens");
  refuse([](json& c) { c["num_hidden_layers"] = 5; }, ErrorKind::bad_input, "model.layers.4");
  refuse([](json& c) { c["num_hidden_layers"] = 2000000000; }, ErrorKind::bad_input, "num_hidden_layers");
  refuse([](json& c) { c.erase("hidden_size"); }, ErrorKind::bad_input, "hidden_size");
  refuse([](json& c) { c["hidden_size"] = "many"; }, ErrorKind::bad_input, "hidden_size");
  refuse([](json& c) { c["tie_word_embeddings"] = false; }, ErrorKind::bad_input, "lm_head");
  refuse(
      [](json& c) {
        c["model_type"] = "hyena";
        c["architectures"] = {"HyenaForCausalLM"};
      },
      ErrorKind::unsupported, "LlamaForCausalLM");
  refuse(
      [](json& c) {
        c["quantization_config"] = {{"quant_method", "bitsandbytes"}};
      },
      ErrorKind::unsupported, "bitsandbytes");
  refuse(
      [](json& c) {
        c["quantization_config"] = {{"quant_method", "compressed-tensors"}, {"format", "nvfp4-pack-quantized"}};
      },
      ErrorKind::unsupported, "nvfp4");
}

TEST(Checkpoint, ThatIsNoneIsRefused) {
  test::TempDir dir;
  expect_refusal(dir / "nothing", ErrorKind::io, "nothing");
  expect_refusal(dir.path(), ErrorKind::bad_input, "config.json");
  write_text(dir / "config.json", "[1, 2]");
  expect_refusal(dir.path(), ErrorKind::bad_input, "config.json");
}

// The embedded model as Q8_0 with changed metadata or tensors.
class GgufArtifact : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    CompressOptions o;
    o.model = test::example_dir();
    o.targets = {"llama.cpp-cpu:Q8_0"};
    o.out = *dir_ / "out";
    compress(o);
  }
  static void TearDownTestSuite() { delete dir_; }

  fs::path original() const { return *dir_ / "out" / "tinytales-Q8_0.gguf"; }

  fs::path rewritten(const std::function<void(FilePlan&)>& change) const {
    const auto reader = open_container(original());
    FilePlan plan{.metadata = reader->metadata()};
    for (const StoredTensor& t : reader->tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
    change(plan);
    const fs::path file = *dir_ / "changed.gguf";
    fs::remove(file);
    const auto writer = find_container("gguf").create(file, plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      std::vector<std::byte> bytes(plan.tensors[i].bytes);
      if (const StoredTensor* t = reader->find(plan.tensors[i].name); t && t->bytes.size() == bytes.size())
        bytes.assign(t->bytes.begin(), t->bytes.end());
      writer->write(i, 0, bytes);
    }
    writer->commit();
    return file;
  }

  static MetaValue& key(FilePlan& plan, std::string_view name) {
    for (auto& [k, v] : plan.metadata)
      if (k == name) return v;
    throw std::runtime_error("no such key");
  }

 private:
  static inline test::TempDir* dir_ = nullptr;
};

TEST_F(GgufArtifact, OpensAsItIs) {
  EXPECT_NO_THROW(open_artifact(original()));
  EXPECT_NO_THROW(open_artifact(rewritten([](FilePlan&) {})));
}

TEST_F(GgufArtifact, WithAnAbsurdBlockCountIsRefusedAtOnce) {
  for (const uint32_t blocks : {5u, 100u, 2'000'000'000u})
    expect_refusal(rewritten([&](FilePlan& p) { key(p, "llama.block_count") = blocks; }), ErrorKind::bad_input, "");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.block_count") = 2'000'000'000u; }), ErrorKind::bad_input,
                 "2000000000");
}

TEST_F(GgufArtifact, WithMetadataOfTheWrongTypeOrMissingIsRefused) {
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.embedding_length") = std::string("many"); }),
                 ErrorKind::bad_input, "embedding_length");
  expect_refusal(rewritten([](FilePlan& p) {
                   std::erase_if(p.metadata, [](auto& m) { return m.first == "llama.feed_forward_length"; });
                 }),
                 ErrorKind::bad_input, "feed_forward_length");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "general.architecture") = std::string("mamba"); }),
                 ErrorKind::bad_input, "mamba.");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.attention.head_count") = 3u; }), ErrorKind::bad_input, "");
}

TEST_F(GgufArtifact, WithTokensThatDoNotFitIsRefused) {
  expect_refusal(
      rewritten([](FilePlan& p) { key(p, "tokenizer.ggml.token_type") = MetaArray{std::vector<int32_t>(7, 1)}; }),
      ErrorKind::bad_input, "7 token types");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "tokenizer.ggml.bos_token_id") = 1'000'000u; }),
                 ErrorKind::bad_input, "bos_token_id");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "tokenizer.ggml.model") = std::string("t5"); }),
                 ErrorKind::unsupported, "t5");
}

TEST_F(GgufArtifact, WithATensorTypeThatKerfDoesNotComputeNamesIt) {
  expect_refusal(rewritten([](FilePlan& p) {
                   for (PlannedTensor& t : p.tensors)
                     if (t.name == "blk.1.ffn_up.weight") {
                       t.type = "Q6_K";
                       t.bytes = 768 * 210;  // one block of 256 weights a row
                     }
                 }),
                 ErrorKind::unsupported, "blk.1.ffn_up.weight");
}

TEST_F(GgufArtifact, GivesBackTheTokenizerOfItsSource) {
  const std::string text = read_text(test::example_dir() / "heldout.txt").substr(0, 20000);
  EXPECT_EQ(Tokenizer(open_tokenizer(original())).encode(text, true),
            Tokenizer(open_tokenizer(test::example_dir())).encode(text, true));
}

}  // namespace
}  // namespace kerf
