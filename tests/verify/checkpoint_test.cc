// Checkpoints that say less than they hold, or something else: what is made of them, and what is refused.
#include "verify/checkpoint.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"
#include "tests/support/small_checkpoint.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;
using test::SmallCheckpoint;

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

Artifact opened(const SmallCheckpoint& c) {
  test::TempDir dir;  // what is mapped stays
  c.write(dir.path());
  return open_artifact(dir.path());
}

void refuses(const SmallCheckpoint& c, ErrorKind kind, std::initializer_list<std::string_view> parts) {
  test::TempDir dir;
  c.write(dir.path());
  const std::string said = test::refusal([&] { open_artifact(dir.path()); }, kind);
  for (const std::string_view part : parts)
    EXPECT_TRUE(test::mentions(said, part)) << "'" << said << "' should mention " << part;
}

std::vector<float> read(const Artifact& a, const std::string& name) {
  const TensorInfo* info = a.weights->find(name);
  EXPECT_NE(info, nullptr) << name;
  std::vector<float> values(info ? static_cast<size_t>(info->elements()) : 0);
  if (info) a.weights->read(*info, 0, values);
  return values;
}

TEST(TiedHead, WithOtherNumbersIsUntied) {
  SmallCheckpoint c;
  c.tensors[kHead] = c.tensors[kEmbedding];
  c.set_one(kHead, 64 * 256 - 1, 0.5f);  // the last number
  const Artifact a = opened(c);
  EXPECT_FALSE(a.architecture.tied);
  EXPECT_EQ(a.architecture.head().name, kHead);
  EXPECT_EQ(a.config_changes.at("tie_word_embeddings"), "false");
  ASSERT_EQ(a.remarks.size(), 1u);
  EXPECT_TRUE(test::mentions(a.remarks[0], "tie_word_embeddings"));
}

TEST(TiedHead, WithTheSameNumbersIsTheEmbedding) {
  for (const Dtype type : {Dtype::bf16, Dtype::f32}) {
    SmallCheckpoint c;
    c.put(kHead, {64, 256}, c.values(kEmbedding), type);
    const Artifact a = opened(c);
    EXPECT_TRUE(a.architecture.tied);
    EXPECT_TRUE(a.config_changes.empty());
    EXPECT_TRUE(a.remarks.empty());
  }
}

TEST(TiedHead, IsComparedInTheTypeOfTheModel) {
  SmallCheckpoint c;
  std::vector<float> values = c.values(kEmbedding);
  for (float& v : values) v *= 1 + 1e-5f;  // less than half a step of BF16
  c.put(kHead, {64, 256}, values, Dtype::f32);
  EXPECT_TRUE(opened(c).architecture.tied);
  c.config["torch_dtype"] = "float32";
  EXPECT_FALSE(opened(c).architecture.tied);
}

TEST(TiedHead, OfAnotherHeightIsRefusedAsOne) {
  SmallCheckpoint c;
  c.add(kHead, {65, 256}, 99);
  refuses(c, ErrorKind::bad_input, {kHead, "65 rows"});
}

TEST(TiedHead, StoredAloneIsTheEmbeddingToo) {
  SmallCheckpoint c;
  const std::vector<float> values = c.values(kEmbedding);
  c.tensors[kHead] = c.tensors[kEmbedding];
  c.tensors.erase(kEmbedding);
  const Artifact a = opened(c);
  EXPECT_TRUE(a.architecture.tied);
  EXPECT_EQ(read(a, kEmbedding), values);
}

TEST(TiedHead, ThatIsNotThereIsRefusedWhereTheConfigUntiesIt) {
  SmallCheckpoint c;
  c.config["tie_word_embeddings"] = false;
  refuses(c, ErrorKind::bad_input, {kHead, "tie_word_embeddings"});
}

TEST(TiedHead, MayLieInAnotherShard) {
  SmallCheckpoint c;
  c.add(kHead, {64, 256}, 99);
  test::TempDir dir;
  write_text(dir / "config.json", c.config.dump());
  c.write_file(dir / "a.safetensors", [](const std::string& name) { return name == kHead; });
  c.write_file(dir / "b.safetensors", [](const std::string& name) { return name != kHead; });
  json index = {{"weight_map", json::object()}};
  for (const auto& [name, t] : c.tensors) index["weight_map"][name] = name == kHead ? "a.safetensors" : "b.safetensors";
  write_text(dir / "model.safetensors.index.json", index.dump());
  EXPECT_FALSE(open_artifact(dir.path()).architecture.tied);
}

TEST(Codes, AreRefusedWithTheirScales) {
  SmallCheckpoint c;
  c.put_bytes(kQuery, "I8", {256, 256});
  c.put_bytes("model.layers.0.self_attn.q_proj.SCB", "F32", {256});
  refuses(c, ErrorKind::unsupported, {kQuery, "I8", "q_proj.SCB", "quantization_config"});
  c.put_bytes(kQuery, "F8_E4M3", {256, 256});
  refuses(c, ErrorKind::unsupported, {kQuery, "F8_E4M3", "q_proj.SCB"});
}

TEST(Codes, OfEveryTypeAndOfEveryWeightAreRefused) {
  for (const char* type : {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F8_E4M3", "F8_E5M2"}) {
    SmallCheckpoint c;
    c.put_bytes(kQuery, type, {256, 256});
    refuses(c, ErrorKind::unsupported, {kQuery, type});
  }
  for (const char* name : {kEmbedding, "model.norm.weight", "model.layers.0.input_layernorm.weight"}) {
    SmallCheckpoint c;
    c.put_bytes(name, "I8", c.tensors[name].shape);
    refuses(c, ErrorKind::unsupported, {name});
  }
  SmallCheckpoint c;  // of a head that would else be compared
  c.put_bytes(kHead, "I8", {64, 256});
  refuses(c, ErrorKind::unsupported, {kHead});
  SmallCheckpoint halves;
  halves.put(kQuery, {256, 256}, halves.values(kQuery), Dtype::f16);
  EXPECT_NO_THROW(opened(halves));
}

TEST(Codes, OfFourBitsAreRefusedByTheirTypeNotTheirShape) {
  SmallCheckpoint c;
  c.put_bytes(kQuery, "U8", {256 * 128, 1});
  c.put_bytes("model.layers.0.self_attn.q_proj.weight.absmax", "F32", {64});
  refuses(c, ErrorKind::unsupported, {kQuery, "U8"});
}

TEST(Codes, WithoutAnyConfigAreNamedWhereWeightsAreMissing) {
  SmallCheckpoint c;
  c.tensors.erase(kQuery);
  c.put_bytes("model.layers.0.self_attn.q_proj.qweight", "I32", {32, 256});
  refuses(c, ErrorKind::bad_input, {kQuery, "in its place", "q_proj.qweight", "quantization_config"});
}

TEST(Adapter, InTheCheckpointIsRefused) {
  SmallCheckpoint c;
  c.add("model.layers.0.self_attn.q_proj.lora_A.weight", {4, 256}, 7);
  refuses(c, ErrorKind::unsupported, {"q_proj.lora_A.weight", "merge"});
  SmallCheckpoint wrapped;  // as saved from a PEFT model
  wrapped.rename([](const std::string& name) {
    return "base_model.model." +
           (name == kQuery ? std::string("model.layers.0.self_attn.q_proj.base_layer.weight") : name);
  });
  refuses(wrapped, ErrorKind::unsupported, {"q_proj.base_layer.weight", "merge"});
}

TEST(Adapter, BesideTheModelIsSaid) {
  SmallCheckpoint c;
  test::TempDir dir;
  c.write(dir.path());
  EXPECT_TRUE(open_artifact(dir.path()).remarks.empty());
  c.write_file(dir / "adapter_model.safetensors", [](const std::string& name) { return name == kQuery; });
  write_text(dir / "adapter_config.json", R"({"base_model_name_or_path": "org/base"})");
  const Artifact a = open_artifact(dir.path());
  ASSERT_EQ(a.remarks.size(), 1u);
  EXPECT_TRUE(test::mentions(a.remarks[0], "org/base"));
  EXPECT_TRUE(test::mentions(a.remarks[0], "merge"));
  fs::rename(dir / "model.safetensors", dir / "weights.safetensors");  // still the only weights
  EXPECT_NO_THROW(open_artifact(dir.path()));
  fs::remove(dir / "weights.safetensors");
  const std::string said = test::refusal([&] { open_artifact(dir.path()); }, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(said, "adapter")) << said;
  fs::remove(dir / "config.json");  // as on the hub
  const std::string alone = test::refusal([&] { open_artifact(dir.path()); }, ErrorKind::unsupported);
  EXPECT_TRUE(test::mentions(alone, "org/base")) << alone;
}

TEST(Names, OfEveryWrapperAreStripped) {
  const SmallCheckpoint plain;
  for (const std::string prefix : {"module.", "_orig_mod.", "base_model.model.", "language_model.", "model.",
                                   "module._orig_mod.", "pretrained_model."}) {
    for (const bool head : {false, true}) {
      SmallCheckpoint c;
      if (head) c.add(kHead, {64, 256}, 99);
      c.config["tie_word_embeddings"] = !head;
      const std::vector<float> head_values = head ? c.values(kHead) : std::vector<float>();
      c.rename([&](const std::string& name) { return prefix + name; });
      SCOPED_TRACE(prefix);
      const Artifact a = opened(c);
      EXPECT_EQ(read(a, kQuery), plain.values(kQuery));
      if (head) {
        EXPECT_EQ(read(a, kHead), head_values);
      }
    }
  }
}

TEST(Names, OfTheBaseModelAreCompleted) {
  const auto without_model = [](const std::string& name) { return name.starts_with("model.") ? name.substr(6) : name; };
  SmallCheckpoint c;
  c.rename(without_model);
  c.config["architectures"] = {"LlamaModel"};
  const Artifact a = opened(c);
  EXPECT_EQ(read(a, kQuery), SmallCheckpoint().values(kQuery));
  EXPECT_EQ(a.config_changes.at("architectures"), R"(["LlamaForCausalLM"])");

  c.config["tie_word_embeddings"] = false;  // a base model has no head
  refuses(c, ErrorKind::bad_input, {kHead});
  SmallCheckpoint with_head;
  with_head.add(kHead, {64, 256}, 99);
  with_head.config["tie_word_embeddings"] = false;
  with_head.rename(without_model);
  EXPECT_NO_THROW(opened(with_head));
  SmallCheckpoint wrapped;
  wrapped.rename([&](const std::string& name) { return "encoder." + without_model(name); });
  EXPECT_EQ(read(opened(wrapped), kEmbedding), SmallCheckpoint().values(kEmbedding));
}

TEST(Names, ThatOnlySomeTensorsHaveAreRefused) {
  SmallCheckpoint c;
  c.rename([](const std::string& name) { return name == kQuery ? name : "module." + name; });
  refuses(c, ErrorKind::bad_input, {kEmbedding, "module."});
  SmallCheckpoint images;
  images.rename([](const std::string& name) { return "language_model." + name; });
  images.add("vision_tower.patches.weight", {8, 8}, 5);
  refuses(images, ErrorKind::bad_input, {kEmbedding, "language_model."});
  SmallCheckpoint two;
  for (const auto& [name, t] : SmallCheckpoint().tensors) {
    two.tensors["student." + name] = t;
    two.tensors["teacher." + name] = t;
    two.tensors.erase(name);
  }
  refuses(two, ErrorKind::bad_input, {kEmbedding, "student."});
}

TEST(UnusedTensors, AreRefusedUnlessKnownToChangeNothing) {
  SmallCheckpoint c;
  c.add("model.layers.0.self_attn.rotary_emb.inv_freq", {32}, 1);
  c.add("v_head.summary.weight", {1, 256}, 2);
  c.put_bytes("model.layers.0.self_attn.q_proj.bias", "F16", {256});  // zeros
  EXPECT_NO_THROW(opened(c));
  c.add("model.layers.0.self_attn.k_proj.bias", {256}, 3);  // ones
  refuses(c, ErrorKind::unsupported, {"1 tensor", "k_proj.bias"});

  SmallCheckpoint deeper;
  deeper.add("model.layers.1.input_layernorm.weight", {256}, 1);
  refuses(deeper, ErrorKind::unsupported, {"model.layers.1.input_layernorm", "num_hidden_layers", "layer 1"});
  SmallCheckpoint scales;
  scales.put_bytes("model.layers.0.self_attn.q_proj.weight_scale", "F32", {256, 1});
  refuses(scales, ErrorKind::unsupported, {"q_proj.weight_scale", "quantization_config"});
}

TEST(MissingTensors, ComeWithWhatIsThereInstead) {
  SmallCheckpoint fused;
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    fused.tensors.erase("model.layers.0.self_attn." + std::string(name) + ".weight");
  fused.add("model.layers.0.self_attn.qkv_proj.weight", {768, 256}, 1);
  refuses(fused, ErrorKind::bad_input, {kQuery, "beside it", "self_attn.qkv_proj.weight"});
  SmallCheckpoint other;
  other.rename(
      [](const std::string& name) { return "w:" + std::to_string(name.size()) + name.substr(name.size() / 2); });
  refuses(other, ErrorKind::bad_input, {kEmbedding, "among its 11 tensors", "w:"});
  SmallCheckpoint more_layers;
  more_layers.config["num_hidden_layers"] = 2;
  refuses(more_layers, ErrorKind::bad_input, {"model.layers.1.", "11 tensors"});
}

TEST(Config, KeysOfOldTransformersThatChangeNothingAreRead) {
  SmallCheckpoint c;
  c.config["pretraining_tp"] = 2;
  EXPECT_NO_THROW(opened(c));
}

TEST(PlaceHolders, OfFilesThatAreOnlyCopiedAreRefusedToo) {
  test::TempDir dir;
  SmallCheckpoint().write(dir.path());
  write_text(dir / "tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
  const std::string said = test::refusal([&] { open_artifact(dir.path()); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "tokenizer.model is a Git LFS pointer")) << said;
}

TEST(PlaceHolders, PagesOfServersAreNoCompanions) {
  const std::pair<const char*, const char*> kinds[] = {{"chat_template.jinja", "chat template"},
                                                       {"tokenizer.model", "tokenizer"},
                                                       {"vocab.json", "JSON"},
                                                       {"merges.txt", "list of tokens"}};
  for (const auto& [file, what] : kinds) {
    test::TempDir dir;
    SmallCheckpoint().write(dir.path());
    write_text(dir / "LICENSE.txt", "<html>terms</html>");
    EXPECT_NO_THROW(open_artifact(dir.path()));
    write_text(dir / file, "\n<!doctype HTML><html>" + std::string(5000, 'x') + "</html>");
    const std::string said = test::refusal([&] { open_artifact(dir.path()); }, ErrorKind::bad_input);
    EXPECT_TRUE(test::mentions(said, fmt::format("{} is no {}, but an HTML page", file, what))) << said;
  }
}

TEST(PlaceHolders, InPlaceOfAModelAreNamed) {
  test::TempDir dir;
  for (const char* name : {"m.gguf", "m.bin"}) {
    write_text(dir / name, "<html>not found</html>");
    const std::string said = test::refusal([&] { open_artifact(dir / name); }, ErrorKind::bad_input);
    EXPECT_TRUE(test::mentions(said, "an HTML page, as servers send instead of a file: download it again")) << said;
  }
}

TEST(PlaceHolders, InPlaceOfAnyFileAreNamed) {
  const std::pair<const char*, const char*> kinds[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"},
      {"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n", "HTML page"},
      {"\n  <html lang=\"en\">", "HTML page"},
      {"Entry not found", "Entry not found"},
      {"PK\x03\x04 and more of an archive", "ZIP archive"},
  };
  for (const char* file : {"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"})
    for (const auto& [content, what] : kinds) {
      test::TempDir dir;
      SmallCheckpoint().write(dir.path());
      if (std::string_view(file).ends_with("index.json")) fs::remove(dir / "model.safetensors");
      fs::remove(dir / file);  // tokenizer.json was not there, and is read where it is
      write_text(dir / file, content);
      const std::string said = test::refusal([&] { open_artifact(dir.path()).tokenizer(); }, ErrorKind::bad_input);
      EXPECT_TRUE(test::mentions(said, what)) << said;
      EXPECT_TRUE(test::mentions(said, file)) << said;
    }
}

}  // namespace
}  // namespace kerf
