// Models whose parts contradict each other: each is refused with a sentence that names the trouble.
#include "verify/artifact.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "formats/gguf.h"
#include "model/arch/decoder.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/tokenizer_path.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"
#include "tests/support/small_model.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

void expect_refusal(const fs::path& model, ErrorKind kind, std::string_view mentioned) {
  const std::string said = test::refusal([&] { open_artifact(model).tokenizer(); }, kind);
  EXPECT_TRUE(test::mentions(said, mentioned)) << "'" << said << "' should mention " << mentioned;
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

  /// `numbers` are the contents of new tensors of one F32 number.
  fs::path rewritten(const std::function<void(FilePlan&)>& change,
                     const std::map<std::string, float>& numbers = {}) const {
    const auto reader = open_container(original());
    FilePlan plan{.metadata = reader->metadata()};
    for (const StoredTensor& t : reader->tensors()) plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
    for (const auto& [name, value] : numbers) plan.tensors.push_back({name, "F32", {1}, sizeof(value)});
    change(plan);
    const fs::path file = *dir_ / "changed.gguf";
    fs::remove(file);
    const auto writer = find_container("gguf").create(file, plan);
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      std::vector<std::byte> bytes(plan.tensors[i].bytes);
      if (const StoredTensor* t = reader->find(plan.tensors[i].name); t && t->bytes.size() == bytes.size())
        bytes.assign(t->bytes.begin(), t->bytes.end());
      if (const auto number = numbers.find(plan.tensors[i].name); number != numbers.end())
        std::memcpy(bytes.data(), &number->second, sizeof(float));
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

TEST_F(GgufArtifact, WithTensorsThatNothingUsesIsRefused) {
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.block_count") = uint32_t{1}; }), ErrorKind::unsupported,
                 "nothing in a llama of 1 blocks uses the tensor blk.");
  expect_refusal(rewritten([](FilePlan&) {}, {{"blk.0.attn_q_norm.weight", 1.0f}}), ErrorKind::unsupported,
                 "blk.0.attn_q_norm.weight");
  EXPECT_NO_THROW(open_artifact(rewritten([](FilePlan&) {}, {{"blk.0.attn_q.input_scale", 1.0f}})));
}

TEST_F(GgufArtifact, WithPartlyRotatedHeadsIsRefused) {
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.rope.dimension_count") = uint32_t{8}; }),
                 ErrorKind::unsupported, "rope.dimension_count is 8");
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
                 ErrorKind::unsupported, "mamba");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.attention.head_count") = 3u; }), ErrorKind::bad_input, "");
}

// Of the Rope of the first block.
RopeTable rope_of(const Artifact& a) { return first_of<Rope>(a.architecture)->table; }

TEST_F(GgufArtifact, ScalesRotationsByOldAndNewKeysAsLlamaCppDoes) {
  using Keys = std::vector<std::pair<std::string, MetaValue>>;
  const std::string old_key = "llama.rope.scale_linear", factor = "llama.rope.scaling.factor",
                    type = "llama.rope.scaling.type";
  const auto rope = [&](const Keys& keys) {
    return rope_of(
        open_artifact(rewritten([&](FilePlan& p) { p.metadata.insert(p.metadata.end(), keys.begin(), keys.end()); })));
  };
  const auto expect = [&](const Keys& keys, RopeScaling scaling, double by) {
    const RopeTable t = rope(keys);
    EXPECT_EQ(t.scaling, scaling) << keys.front().first;
    EXPECT_EQ(t.factor, by) << keys.front().first;
  };
  const std::string linear = "linear", none = "none", yarn = "yarn";
  expect({{old_key, 4.0F}}, RopeScaling::linear, 4);
  expect({{factor, 4.0F}}, RopeScaling::linear, 4);  // without a type
  expect({{factor, 2.0F}, {old_key, 4.0F}}, RopeScaling::linear, 2);
  expect({{type, linear}, {old_key, 4.0F}}, RopeScaling::linear, 4);
  expect({{type, yarn}, {old_key, 4.0F}}, RopeScaling::yarn, 4);
  expect({{type, none}, {old_key, 4.0F}}, RopeScaling::none, 1);
  expect({{factor, 0.0F}}, RopeScaling::none, 1);
  expect({{factor, 1.0F}}, RopeScaling::none, 1);
  // llama.cpp reads these for other architectures only.
  const RopeTable t = rope({{type, yarn}, {factor, 4.0F}, {"llama.rope.scaling.yarn_beta_slow", 0.01F}});
  EXPECT_EQ(t.beta_slow, 1);
  // 0 stands for the context length.
  EXPECT_EQ(rope({{type, yarn}, {factor, 4.0F}, {"llama.rope.scaling.original_context_length", 0u}}).original_context,
            512);
  const auto refuse = [&](const Keys& keys, ErrorKind kind, std::string_view mentioned) {
    expect_refusal(rewritten([&](FilePlan& p) { p.metadata.insert(p.metadata.end(), keys.begin(), keys.end()); }), kind,
                   mentioned);
  };
  refuse({{"llama.rope.scaling.attn_factor", 2.0F}}, ErrorKind::unsupported, "llama.rope.scaling.attn_factor is 2");
  refuse({{type, std::string("longrope")}}, ErrorKind::unsupported, "longrope");
  refuse({{type, std::string("su")}}, ErrorKind::bad_input, "llama.rope.scaling.type is \"su\"");
  refuse({{factor, -1.0F}}, ErrorKind::bad_input, "llama.rope.scaling.factor must be positive");
}

// rope_freqs.weight divides first, then the keys scale.
TEST_F(GgufArtifact, WithRopeFactorsAndAScaleTurnsByBoth) {
  const auto add_factors = [](FilePlan& p) {
    p.tensors.push_back({"rope_freqs.weight", "F32", {32}, 128});
    p.metadata.emplace_back("llama.rope.scaling.factor", 4.0F);
  };
  Artifact a = open_artifact(rewritten(add_factors));
  Rope rope = *first_of<Rope>(a.architecture);
  rope.table.divisors.assign(32, 2.0F);
  const Rope plain{{.theta = rope.table.theta}, rope.rotated};
  for (size_t i = 0; i < 32; ++i) EXPECT_FLOAT_EQ(rope.frequencies()[i], plain.frequencies()[i] / 8);
}

TEST_F(GgufArtifact, WithOneNumberForEachLayerIsReadWhereTheyAreEqual) {
  for (const MetaValue& heads :
       {MetaValue(MetaArray{std::vector<int32_t>(4, 2)}), MetaValue(MetaArray{std::vector<uint32_t>(4, 2)})}) {
    const Artifact a = open_artifact(rewritten([&](FilePlan& p) { key(p, "llama.attention.head_count_kv") = heads; }));
    EXPECT_EQ(dimensions_of(a.architecture).kv_heads, 2);
  }
  expect_refusal(rewritten([](FilePlan& p) {
                   key(p, "llama.feed_forward_length") = MetaArray{std::vector<int32_t>{768, 768, 512, 768}};
                 }),
                 ErrorKind::unsupported, "llama.feed_forward_length differs from layer to layer (768 and 512)");
}

TEST_F(GgufArtifact, ThatIsSomethingElseThanAModelSaysSo) {
  const auto typed = [&](const std::string& type) {
    return rewritten([&](FilePlan& p) { key(p, "general.type") = type; });
  };
  expect_refusal(typed("imatrix"), ErrorKind::bad_input, "--imatrix");
  expect_refusal(typed("adapter"), ErrorKind::unsupported, "LoRA");
  expect_refusal(typed("mmproj"), ErrorKind::unsupported, "text model");
  expect_refusal(rewritten([&](FilePlan& p) { p.tensors.clear(); }), ErrorKind::bad_input, "no weights");
  expect_refusal(rewritten([](FilePlan& p) { p.metadata.emplace_back("llama.attention.causal", false); }),
                 ErrorKind::unsupported, "llama.attention.causal");
  expect_refusal(rewritten([](FilePlan& p) { p.metadata.emplace_back("llama.expert_count", 8u); }),
                 ErrorKind::unsupported, "llama.expert_count is 8");
  expect_refusal(rewritten([](FilePlan& p) {
                   std::erase_if(p.metadata, [](auto& m) { return m.first.ends_with("rms_epsilon"); });
                 }),
                 ErrorKind::bad_input, "llama.attention.layer_norm_rms_epsilon");
}

TEST_F(GgufArtifact, WithTensorsThatAreMissingOrOfAnotherShapeNamesThoseOfTheFile) {
  const auto without = [&](const std::string& name) {
    return rewritten([&](FilePlan& p) { std::erase_if(p.tensors, [&](auto& t) { return t.name == name; }); });
  };
  expect_refusal(without("blk.1.ffn_up.weight"), ErrorKind::bad_input,
                 "no tensor blk.1.ffn_up.weight of shape [768, 256], which a llama of 4 blocks needs; there are "
                 "blk.1.attn");
  expect_refusal(without("output_norm.weight"), ErrorKind::bad_input, "there are token_embd.weight");
  expect_refusal(rewritten([](FilePlan& p) {
                   for (PlannedTensor& t : p.tensors)
                     if (t.name == "blk.0.attn_q.weight") t.name = "blk.0.attn_qkv.weight";
                 }),
                 ErrorKind::bad_input, "queries, keys and values in one matrix");
  expect_refusal(rewritten([](FilePlan& p) { key(p, "llama.feed_forward_length") = 512u; }), ErrorKind::bad_input,
                 "blk.0.ffn_gate.weight has the shape [768, 256], and the keys llama.* imply [512, 256]");
}

// Whatever a number of the header says, the file is read or refused with a sentence that speaks of the file.
TEST_F(GgufArtifact, WithAnyNumberInItsMetadataIsReadOrRefused) {
  for (const char* name : {"context_length", "embedding_length", "feed_forward_length", "attention.head_count",
                           "attention.head_count_kv", "attention.key_length", "vocab_size"})
    for (const uint32_t n : {0u, 1u, 3u, 0x7fffffffu, ~0u}) try {
        open_artifact(rewritten([&](FilePlan& p) { key(p, std::string("llama.") + name) = n; }));
      } catch (const Error& e) {
        EXPECT_TRUE(e.kind() == ErrorKind::bad_input || e.kind() == ErrorKind::unsupported) << name << n << e.what();
        EXPECT_FALSE(test::mentions(e.what(), "config.json") || test::mentions(e.what(), "_size\"")) << e.what();
        EXPECT_TRUE(test::mentions(e.what(), ".gguf")) << e.what();
      }
}

TEST_F(GgufArtifact, WithTokensThatDoNotFitIsRefused) {
  const std::vector<std::string> few(7, "x");
  expect_refusal(rewritten([&](FilePlan& p) {
                   key(p, "tokenizer.ggml.tokens") = MetaArray{few};
                   key(p, "tokenizer.ggml.token_type") = MetaArray{std::vector<int32_t>(7, 1)};
                   std::erase_if(p.metadata, [](auto& m) { return m.first.ends_with("_token_id"); });
                 }),
                 ErrorKind::bad_input, "7 tokens for an embedding of 4096 rows");
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
                       t.type = "Q8_1";  // of activations
                       t.bytes = 768 * 8 * 36;
                     }
                 }),
                 ErrorKind::unsupported, "blk.1.ffn_up.weight");
}

TEST_F(GgufArtifact, WithAScaleBesideAMatrixMultipliesItsProductsAndItsWeights) {
  constexpr float kScale = 0.3f;
  const Artifact plain = open_artifact(original());
  const Artifact scaled =
      open_artifact(rewritten([](FilePlan&) {}, {{"blk.1.ffn_up.scale", kScale}, {"blk.0.attn_q.scale", kScale}}));
  for (const auto& [name, is_scaled] : std::map<std::string, bool>{{"model.layers.1.mlp.up_proj.weight", true},
                                                                   {"model.layers.0.self_attn.q_proj.weight", true},
                                                                   {"model.layers.0.mlp.up_proj.weight", false}}) {
    const auto product_and_weights = [name = name](const Artifact& a) {
      const TensorInfo& info = *a.weights->find(name);
      std::vector<float> x(static_cast<size_t>(info.cols())), y(static_cast<size_t>(info.rows()));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 2.5f;
      weights_of(a, VerifyMode::runtime)
          ->linear({.name = name, .out = info.rows(), .in = info.cols()})
          ->apply(x.data(), 1, 0, info.rows(), y.data(), info.rows());
      std::vector<float> w(static_cast<size_t>(info.rows() * info.cols()));
      a.weights->read(info, 0, w);
      y.insert(y.end(), w.begin(), w.end());
      return y;
    };
    std::vector<float> expected = product_and_weights(plain);
    if (is_scaled)
      for (float& v : expected) v *= kScale;
    EXPECT_EQ(product_and_weights(scaled), expected) << name;
  }
}

TEST_F(GgufArtifact, WithAScaleThatIsNoSingleNumberOrStandsBesidePlainNumbersIsRefused) {
  expect_refusal(rewritten([](FilePlan& p) {
                   p.tensors.push_back({"blk.1.ffn_up.scale", "F32", {2}, 8});
                 }),
                 ErrorKind::bad_input, "blk.1.ffn_up.scale");
  expect_refusal(rewritten([](FilePlan& p) {
                   p.tensors.push_back({"blk.1.attn_norm.scale", "F32", {1}, 4});
                 }),
                 ErrorKind::unsupported, "blk.1.attn_norm.scale");
}

// Ollama's blobs have no suffix.
TEST_F(GgufArtifact, IsRecognisedByItsFirstBytesWhateverItsName) {
  const test::TempDir dir;
  const fs::path blob = dir / "sha256-6f0a0d6a";
  fs::copy_file(original(), blob);
  write_text(dir / "sha256-aaaa", R"({"stop":["<end>"]})");
  write_text(dir / "sha256-bbbb-partial", "GGUF");
  write_text(dir / "x.gguf.incomplete", "GGUF");
  for (const fs::path& path : {blob, dir.path()}) {
    EXPECT_EQ(open_artifact(path).format, "GGUF") << path;
    EXPECT_EQ(open_tokenizer(path).tokens.size(), 4096u) << path;
    EXPECT_EQ(inspect(path)["model"]["format"], "GGUF") << path;
    const VerifyOptions v{.packed = path,
                          .against = path,
                          .eval = {.text = test::example_dir() / "heldout.txt", .ctx = 32, .windows = 1}};
    EXPECT_TRUE(verify_run(v).targets[0].verification) << path;
  }
  expect_refusal(dir / "sha256-aaaa", ErrorKind::bad_input, "neither a GGUF nor a safetensors file");
}

TEST_F(GgufArtifact, IsFoundBesideAConfigAndBesideFilesOfOtherKinds) {
  const test::TempDir dir;
  fs::copy_file(original(), dir / "model-Q8_0.gguf");
  write_text(dir / "config.json", R"({"model_type": "llama"})");
  EXPECT_EQ(open_artifact(dir.path()).format, "GGUF");
  for (const char* type : {"imatrix", "mmproj"})
    fs::copy_file(rewritten([&](FilePlan& p) { key(p, "general.type") = std::string(type); }),
                  dir / (std::string(type) + ".gguf"));
  EXPECT_EQ(open_artifact(dir.path()).path, dir / "model-Q8_0.gguf");
  EXPECT_TRUE(open_artifact(dir.path()).remarks.empty());
  fs::copy_file(rewritten([&](FilePlan& p) { key(p, "general.type") = std::string("adapter"); }), dir / "lora.gguf");
  const std::vector<std::string> remarks = open_artifact(dir.path()).remarks;
  ASSERT_EQ(remarks.size(), 1u);
  EXPECT_TRUE(test::mentions(remarks[0], "an adapter lies beside the model (lora.gguf) and is left out")) << remarks[0];
  EXPECT_TRUE(test::mentions(remarks[0], "merge it (llama-export-lora)")) << remarks[0];
  fs::copy_file(original(), dir / "other.gguf");
  expect_refusal(dir.path(), ErrorKind::bad_input, "2 models in GGUF files (model-Q8_0.gguf, other.gguf)");
}

TEST_F(GgufArtifact, InSeveralFilesNamesThePartThatIsMissing) {
  const test::TempDir dir;
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = {"llama.cpp-cpu:Q8_0"};
  o.out = dir / "out";
  o.shard_bytes = 2'000'000;
  compress(o);
  EXPECT_NO_THROW(open_artifact(o.out));
  const fs::path second = gguf_models_in(o.out).front().parent_path() / "tinytales-Q8_0-00002-of-00003.gguf";
  ASSERT_TRUE(fs::exists(second));
  fs::remove(second);
  expect_refusal(o.out, ErrorKind::bad_input, "tinytales-Q8_0-00002-of-00003.gguf is missing");
  fs::remove(o.out / "tinytales-Q8_0-00001-of-00003.gguf");
  expect_refusal(o.out, ErrorKind::bad_input, "the first, NAME-00001-of-0000N.gguf, is missing beside it");
}

TEST_F(GgufArtifact, GivesBackTheTokenizerOfItsSource) {
  const std::string text = read_text(test::example_dir() / "heldout.txt").substr(0, 20000);
  EXPECT_EQ(Tokenizer(open_tokenizer(original())).encode(text, true),
            Tokenizer(open_tokenizer(test::example_dir())).encode(text, true));
}

// Layers with windows that come in no regular order are an array of truth values in a GGUF.
TEST(GgufOfGemma3, KeepsWindowsInAnyOrder) {
  const test::TempDir dir;
  test::write_small_model(dir / "gemma", [](nlohmann::ordered_json& c) {
    test::set_shape(c, {64, 96, 2, 1, 32, 4});
    c["model_type"] = "gemma3_text";
    c["architectures"] = {"Gemma3ForCausalLM"};
    c["hidden_activation"] = "gelu_pytorch_tanh";
    c["query_pre_attn_scalar"] = 32;
    c["sliding_window"] = 16;
    c["layer_types"] = {"full_attention", "sliding_attention", "sliding_attention", "full_attention"};
  });
  CompressOptions o;
  o.model = dir / "gemma";
  o.targets = {"llama.cpp-cpu:F32"};
  o.out = dir / "out";
  compress(o);
  const Artifact source = open_artifact(dir / "gemma"), packed = open_artifact(dir / "out");
  for (int64_t layer = 0; layer < 4; ++layer) {
    const auto window = [&](const Artifact& a) {
      for (const Op& op : a.architecture.block(layer))
        if (const auto* attend = op.as<Attend>()) return attend->window;
      return int64_t{-1};
    };
    EXPECT_EQ(window(source), layer == 1 || layer == 2 ? 16 : 0) << layer;
    EXPECT_EQ(window(packed), window(source)) << layer;
  }
}

}  // namespace
}  // namespace kerf
