// Llama: RMSNorm before attention and before a SiLU-gated feed-forward part, rotary positions, grouped keys and values.
// Llama 1 to 3.x, TinyLlama, SmolLM and SmolLM2 are described by it. Source: transformers, models/llama.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/arch/architecture.h"
#include "model/arch/config_reader.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"llama"};
constexpr std::string_view kArchitectures[] = {"LlamaForCausalLM"};

Architecture describe(const nlohmann::json& json) {
  const ConfigReader config(json, "config.json");
  Architecture a;
  a.family = "llama";
  a.gguf_name = "llama";
  a.permute_qk_for_gguf = true;
  read_dimensions(config, a);
  read_dtype_and_ids(config, a);
  a.rope = read_rope(config, 10000, a.context);
  a.norm_eps = config.number_or("rms_norm_eps", 1e-6);
  if (a.norm_eps < 0) fail(ErrorKind::bad_input, "config.json: \"rms_norm_eps\" must not be negative");
  a.tied = config.flag_or("tie_word_embeddings", false);
  if (const std::string act = config.text_or("hidden_act", "silu"); act != "silu" && act != "swish")
    fail(ErrorKind::unsupported, "config.json: \"hidden_act\" \"{}\" is not supported for llama, only silu", act);
  // pretraining_tp > 1 only splits the products of an old version of transformers; the weights are the same, the sums
  // are not, so the reference would be a different one.
  if (config.size_or("pretraining_tp", 1) != 1)
    fail(ErrorKind::unsupported, "config.json: \"pretraining_tp\" {} is not supported, only 1",
         config.size("pretraining_tp"));

  const bool attention_bias = config.flag_or("attention_bias", false), mlp_bias = config.flag_or("mlp_bias", false);
  a.block = {
      {OpKind::norm, "attn_norm", {"x"}, "normed"},
      {OpKind::linear, "attn_q", {"normed"}, "q", Axis::hidden, Axis::head, attention_bias, "qkv"},
      {OpKind::linear, "attn_k", {"normed"}, "k", Axis::hidden, Axis::kv, attention_bias, "qkv"},
      {OpKind::linear, "attn_v", {"normed"}, "v", Axis::hidden, Axis::kv, attention_bias, "qkv"},
      {OpKind::rope, "", {"q"}, "q", Axis::head, Axis::head},
      {OpKind::rope, "", {"k"}, "k", Axis::kv, Axis::kv},
      {OpKind::attention, "", {"q", "k", "v"}, "heads", Axis::head, Axis::head},
      {OpKind::linear, "attn_output", {"heads"}, "attended", Axis::head, Axis::hidden, attention_bias},
      {OpKind::add, "", {"x", "attended"}, "x"},
      {OpKind::norm, "ffn_norm", {"x"}, "normed"},
      {OpKind::linear, "ffn_gate", {"normed"}, "gate", Axis::hidden, Axis::ffn, mlp_bias, "gate_up"},
      {OpKind::linear, "ffn_up", {"normed"}, "up", Axis::hidden, Axis::ffn, mlp_bias, "gate_up"},
      {OpKind::gate, "", {"gate", "up"}, "gated", Axis::ffn, Axis::ffn},
      {OpKind::linear, "ffn_down", {"gated"}, "fed", Axis::ffn, Axis::hidden, mlp_bias},
      {OpKind::add, "", {"x", "fed"}, "x"},
  };
  a.names = {
      {"token_embd", "model.embed_tokens", "token_embd"},
      {"output_norm", "model.norm", "output_norm"},
      {"output", "lm_head", "output"},
      {"attn_norm", "model.layers.{}.input_layernorm", "blk.{}.attn_norm"},
      {"attn_q", "model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"},
      {"attn_k", "model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"},
      {"attn_v", "model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"},
      {"attn_output", "model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"},
      {"ffn_norm", "model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"},
      {"ffn_gate", "model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"},
      {"ffn_up", "model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"},
      {"ffn_down", "model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"},
  };
  return a;
}

}  // namespace

const ArchitectureFamily& architecture_llama() {
  static const ArchitectureFamily family{
      .name = "llama", .model_types = kModelTypes, .architectures = kArchitectures, .describe = describe};
  return family;
}

}  // namespace kerf
