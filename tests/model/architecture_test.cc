#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/arch/architecture.h"
#include "model/arch/decoder.h"
#include "model/arch/family.h"
#include "tests/support/random_checkpoint.h"

namespace kerf {
namespace {

nlohmann::json config() {
  return {{"model_type", "llama"},
          {"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 96},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"bos_token_id", 1},
          {"eos_token_id", {2, 7}},
          {"torch_dtype", "bfloat16"},
          {"tie_word_embeddings", false}};
}

/// The Error that f throws, as its kind and sentence.
struct Caught {
  ErrorKind kind;
  std::string sentence;
};
template <class F>
Caught caught(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return {e.kind(), e.what()};
  }
  ADD_FAILURE() << "no Error";
  return {ErrorKind::internal, ""};
}
bool says(const Caught& c, const std::string& what) {
  if (c.sentence.find(what) != std::string::npos) return true;
  ADD_FAILURE() << "'" << c.sentence << "' does not mention '" << what << "'";
  return false;
}

TEST(Architecture, ReadsTheDimensionsOfAConfig) {
  const Architecture a = describe_architecture(config());
  EXPECT_EQ(a.family, "llama");
  const Dimensions d = dimensions_of(a);
  EXPECT_EQ(d.hidden, 64);
  EXPECT_EQ(d.ffn, 96);
  EXPECT_EQ(d.layers, 2);
  EXPECT_EQ(d.heads, 4);
  EXPECT_EQ(d.kv_heads, 2);
  EXPECT_EQ(d.head_dim, 16);
  EXPECT_EQ(d.vocab, 96);
  EXPECT_EQ(a.context, 64);
  EXPECT_EQ(first_of<Norm>(a)->eps, 1e-5);
  EXPECT_EQ(first_of<Attend>(a)->scale, 0.25);
  EXPECT_EQ(a.dtype, Dtype::bf16);
  EXPECT_EQ(a.bos, 1);
  EXPECT_EQ(a.eos, (std::vector<int32_t>{2, 7}));
  EXPECT_FALSE(a.tied);
  EXPECT_TRUE(matrix_of(a, "attn_k").weight.gguf.interleaved);
  EXPECT_FALSE(matrix_of(a, "attn_v").weight.gguf.interleaved);
  const Axis& kv = a.axis(a.axis_named("kv"));
  EXPECT_EQ(kv.size, 32);
  EXPECT_EQ(kv.groups, 2);
}

TEST(Architecture, NamesEverySiteInBothContainers) {
  const Architecture a = describe_architecture(config());
  const std::vector<Site> sites = a.block_sites(1);
  std::vector<std::string> roles;
  for (const Site& s : sites) roles.push_back(s.role);
  EXPECT_EQ(roles,
            (std::vector<std::string>{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}));
  EXPECT_EQ(sites[1].name, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(sites[1].out, 32);
  EXPECT_EQ(sites[1].in, 64);
  EXPECT_EQ(sites[1].bias, "");
  EXPECT_EQ(sites[1].fused, "qkv");
  EXPECT_EQ(sites[5].fused, "gate_up");
  EXPECT_EQ(sites[6].in, 96);
  EXPECT_EQ(sites[6].gguf, "blk.1.ffn_down.weight");
  EXPECT_EQ(a.expected_tensors(-1)[1].gguf, "output_norm.weight");
  EXPECT_EQ(a.head().name, "lm_head.weight");
  EXPECT_EQ(a.head().role, "output");
}

TEST(Architecture, TiedHeadIsTheEmbedding) {
  nlohmann::json c = config();
  c["tie_word_embeddings"] = true;
  const Architecture a = describe_architecture(c);
  EXPECT_EQ(a.head().name, "model.embed_tokens.weight");
  EXPECT_EQ(a.head().role, "token_embd");
  for (const ExpectedTensor& t : a.expected_tensors(-1)) EXPECT_NE(t.name, "lm_head.weight");
}

TEST(Architecture, BiasFlagsAddBiases) {
  nlohmann::json c = config();
  c["attention_bias"] = true;
  EXPECT_EQ(describe_architecture(c).block_sites(0)[3].bias, "model.layers.0.self_attn.o_proj.bias");
  EXPECT_EQ(describe_architecture(c).block_sites(0)[6].bias, "");
  c["mlp_bias"] = true;
  EXPECT_EQ(describe_architecture(c).block_sites(0)[6].bias, "model.layers.0.mlp.down_proj.bias");
}

TEST(Architecture, DefaultsAreThoseOfTransformers) {
  nlohmann::json c = config();
  for (const char* key :
       {"num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "torch_dtype", "bos_token_id", "eos_token_id"})
    c.erase(key);
  const Architecture a = describe_architecture(c);
  EXPECT_EQ(dimensions_of(a).kv_heads, 4);
  EXPECT_EQ(first_of<Norm>(a)->eps, 1e-6);
  EXPECT_FALSE(a.tied);
  EXPECT_EQ(first_of<Rope>(a)->table.theta, 10000);
  EXPECT_EQ(a.dtype, Dtype::f32);
  EXPECT_FALSE(a.bos.has_value());
  EXPECT_TRUE(a.eos.empty());
}

TEST(Architecture, BothSpellingsOfRopeAreOne) {
  nlohmann::json old = config(), now = config();
  const nlohmann::json scaling = {
      {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 32}};
  old["rope_theta"] = 500000;
  old["rope_scaling"] = scaling;
  old["rope_scaling"]["rope_type"] = "llama3";
  now["rope_parameters"] = scaling;
  now["rope_parameters"]["rope_type"] = "llama3";
  now["rope_parameters"]["rope_theta"] = 500000;
  const auto rope = [](const nlohmann::json& c) { return first_of<Rope>(describe_architecture(c))->table; };
  for (const RopeTable& r : {rope(old), rope(now)}) {
    EXPECT_EQ(r.theta, 500000);
    EXPECT_EQ(r.scaling, RopeScaling::llama3);
    EXPECT_EQ(r.factor, 8);
    EXPECT_EQ(r.low_freq_factor, 1);
    EXPECT_EQ(r.high_freq_factor, 4);
    EXPECT_EQ(r.original_context, 32);
  }
  nlohmann::json oldest = config();
  oldest["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  EXPECT_EQ(rope(oldest).scaling, RopeScaling::linear);
  oldest["rope_scaling"] = nullptr;
  EXPECT_EQ(rope(oldest).scaling, RopeScaling::none);
}

TEST(Architecture, RopeDivisorsAreTheRatioOfUnscaledToScaledFrequencies) {
  nlohmann::json c = config();
  c["head_dim"] = 64;
  const std::vector<float> unscaled = first_of<Rope>(describe_architecture(c))->frequencies();
  c["rope_scaling"] = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  const Architecture a = describe_architecture(c);
  const std::vector<float> scaled = first_of<Rope>(a)->frequencies(), divisors = first_of<Rope>(a)->divisors();
  int kept = 0, divided = 0, blended = 0;
  for (size_t i = 0; i < divisors.size(); ++i) {
    EXPECT_NEAR(unscaled[i] / scaled[i] / divisors[i], 1, 1e-5);
    (divisors[i] == 1 ? kept : divisors[i] == 8 ? divided : blended)++;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_GT(blended, 0);
}

TEST(Architecture, UnknownArchitectureListsTheKnown) {
  nlohmann::json c = config();
  c["model_type"] = "mamba";
  c["architectures"] = {"MambaForCausalLM"};
  const Caught e = caught([&] { describe_architecture(c); });
  EXPECT_EQ(e.kind, ErrorKind::unsupported);
  says(e, "MambaForCausalLM");
  says(e, "LlamaForCausalLM");
  c["model_type"] = "llama";
  c["architectures"] = {"LlamaForSequenceClassification"};
  EXPECT_EQ(caught([&] { describe_architecture(c); }).kind, ErrorKind::unsupported);
  c.erase("architectures");
  EXPECT_EQ(describe_architecture(c).family, "llama");
}

TEST(Architecture, MissingKeysAreNamed) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "max_position_embeddings"}) {
    nlohmann::json c = config();
    c.erase(key);
    const Caught e = caught([&] { describe_architecture(c); });
    EXPECT_EQ(e.kind, ErrorKind::bad_input);
    says(e, key);
    c[key] = nullptr;
    says(caught([&] { describe_architecture(c); }), key);
  }
  says(caught([] { describe_architecture(nlohmann::json::object()); }), "model_type");
  EXPECT_EQ(caught([] { describe_architecture(nlohmann::json::array()); }).kind, ErrorKind::bad_input);
}

TEST(Architecture, BothBasesOfGemmasRotationsAreChecked) {
  nlohmann::json gemma = config();
  gemma["architectures"] = {"Gemma3ForCausalLM"};
  gemma["model_type"] = "gemma3_text";
  describe_architecture(gemma);
  for (const char* key : {"rope_theta", "rope_local_base_freq"})
    for (const double theta : {-5.0, 0.0, 1e300}) {
      nlohmann::json c = gemma;
      c[key] = theta;
      const Caught e = caught([&] { describe_architecture(c); });
      EXPECT_EQ(e.kind, ErrorKind::bad_input) << key << " " << theta;
      says(e, key);
    }
}

TEST(Architecture, WrongValuesAreNamed) {
  const std::vector<std::pair<const char*, nlohmann::json>> wrong = {
      {"vocab_size", 0},
      {"vocab_size", -5},
      {"vocab_size", "96"},
      {"vocab_size", 1e18},
      {"hidden_size", 64.5},
      {"hidden_size", 18446744073709551615U},
      {"num_hidden_layers", 1000000000},
      {"num_attention_heads", 5},
      {"num_key_value_heads", 3},
      {"head_dim", 15},
      {"head_dim", nlohmann::json::array()},
      {"rms_norm_eps", "small"},
      {"rms_norm_eps", -1},
      {"tie_word_embeddings", 1},
      {"attention_bias", "yes"},
      {"rope_theta", 0},
      {"rope_theta", -10000.0},
      {"rope_theta", 1e300},
      {"rope_scaling", "linear"},
      {"rope_scaling", {{"type", "linear"}}},
      {"rope_scaling", {{"type", "linear"}, {"factor", 0}}},
      {"rope_scaling", {{"rope_type", 3}}},
      {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}},
      {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}},
      {"bos_token_id", "one"},
      {"bos_token_id", 1e12},
      {"eos_token_id", {{"a", 1}}},
      {"torch_dtype", 16},
      {"architectures", "LlamaForCausalLM"},
      {"architectures", {1}},
      {"model_type", 1},
  };
  for (const auto& [key, value] : wrong) {
    nlohmann::json c = config();
    c[key] = value;
    const Caught e = caught([&] { describe_architecture(c); });
    EXPECT_EQ(e.kind, ErrorKind::bad_input) << key << " " << value;
    // What must be a multiple of what is one complaint about two keys; "head_dim" is a size of a head.
    if (std::string(key) != "head_dim") says(e, key);
  }
}

TEST(Architecture, UnsupportedFeaturesAreNamed) {
  const std::vector<std::pair<const char*, nlohmann::json>> cases = {
      {"hidden_act", "gelu"},
      {"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4}}},
      {"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4}}},
      {"partial_rotary_factor", 0.5},
      {"torch_dtype", "float64"},
  };
  for (const auto& [key, value] : cases) {
    nlohmann::json c = config();
    c[key] = value;
    const Caught e = caught([&] { describe_architecture(c); });
    EXPECT_EQ(e.kind, ErrorKind::unsupported) << key << " " << value;
    says(e, key);
  }
}

TEST(CheckTensors, AcceptsWhatTheArchitectureExpects) {
  for (bool tied : {false, true}) {
    nlohmann::json c = config();
    c["tie_word_embeddings"] = tied;
    const Architecture a = describe_architecture(c);
    test::RandomCheckpoint checkpoint(a);
    if (tied) checkpoint.add("lm_head.weight", {96, 64});  // stored a second time by some tools
    checkpoint.add("model.layers.0.self_attn.rotary_emb.inv_freq", {8});
    EXPECT_NO_THROW(check_tensors(a, checkpoint));
  }
}

TEST(CheckTensors, NamesEachMissingTensor) {
  const Architecture a = describe_architecture(config());
  for (int64_t layer : {-1, 0, 1})
    for (const ExpectedTensor& t : a.expected_tensors(layer)) {
      test::RandomCheckpoint checkpoint(a);
      checkpoint.remove(t.name);
      const Caught e = caught([&] { check_tensors(a, checkpoint); });
      EXPECT_EQ(e.kind, ErrorKind::bad_input);
      says(e, t.name);
    }
}

TEST(CheckTensors, NamesEachWrongShape) {
  const Architecture a = describe_architecture(config());
  for (int64_t layer : {-1, 1})
    for (const ExpectedTensor& t : a.expected_tensors(layer)) {
      test::RandomCheckpoint checkpoint(a);
      checkpoint.remove(t.name);
      std::vector<int64_t> shape = t.shape;
      shape.back() += 1;
      checkpoint.add(t.name, shape);
      const Caught e = caught([&] { check_tensors(a, checkpoint); });
      EXPECT_EQ(e.kind, ErrorKind::bad_input);
      says(e, t.name);
    }
}

TEST(CheckTensors, SaysWhenTheVocabularyIsAnother) {
  const Architecture a = describe_architecture(config());
  test::RandomCheckpoint checkpoint(a);
  checkpoint.remove("model.embed_tokens.weight");
  checkpoint.add("model.embed_tokens.weight", {100, 64});
  const Caught e = caught([&] { check_tensors(a, checkpoint); });
  says(e, "100 rows");
  says(e, "vocab_size");
}

}  // namespace
}  // namespace kerf
