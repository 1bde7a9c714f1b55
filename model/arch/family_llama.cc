// Llama: RMSNorm before attention and before a SiLU-gated feed-forward part, rotary positions, grouped keys and values.
// Llama 1 to 3.x, TinyLlama, SmolLM and SmolLM2 are described by it. Source: transformers, models/llama.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/arch/config_reader.h"
#include "model/arch/decoder.h"
#include "model/arch/gguf_decoder.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"llama"};
constexpr std::string_view kArchitectures[] = {"LlamaForCausalLM", "LlamaModel"};

Architecture describe(const ConfigReader& config) {
  const Dimensions d = read_dimensions(config);
  DecoderBuilder b("llama", "llama", d);
  read_dtype_and_ids(config, b.a);
  const RopeTable rope = read_rope(config, 10000, d.context);
  if (const int64_t rotated = read_rotated(config, d.head_dim); rotated != d.head_dim)
    fail(ErrorKind::unsupported, "config.json: \"partial_rotary_factor\" {} is not supported for llama, only 1",
         static_cast<double>(rotated) / static_cast<double>(d.head_dim));
  const DecoderBuilder::NormStyle norm{.eps = config.number_or("rms_norm_eps", 1e-6)};
  if (norm.eps < 0)
    fail(ErrorKind::bad_input, "{}: {} must not be negative", config.name(), config.spelled("rms_norm_eps"));
  b.a.tied = config.flag_or("tie_word_embeddings", false);
  if (const std::string act = config.text_or("hidden_act", "silu"); act != "silu" && act != "swish")
    fail(ErrorKind::unsupported, "config.json: \"hidden_act\" \"{}\" is not supported for llama, only silu", act);
  const bool attention_bias = config.flag_or("attention_bias", false), mlp_bias = config.flag_or("mlp_bias", false);
  Ops block = {
      b.norm("attn_norm", "x", "normed", "input_layernorm", norm),
      b.linear("attn_q", "normed", "q", "hidden", "head", "self_attn.q_proj", attention_bias, "qkv"),
      b.linear("attn_k", "normed", "k", "hidden", "kv", "self_attn.k_proj", attention_bias, "qkv"),
      b.linear("attn_v", "normed", "v", "hidden", "kv", "self_attn.v_proj", attention_bias, "qkv"),
      b.rope("q", "head", rope, d.head_dim),
      b.rope("k", "kv", rope, d.head_dim),
      b.attend({.scale = 1 / std::sqrt(static_cast<double>(d.head_dim)), .ggml_interleaved = true}),
      b.linear("attn_output", "heads", "attended", "head", "hidden", "self_attn.o_proj", attention_bias),
      b.add("attended"),
      b.norm("ffn_norm", "x", "normed", "post_attention_layernorm", norm),
      b.linear("ffn_gate", "normed", "gate", "hidden", "ffn", "mlp.gate_proj", mlp_bias, "gate_up"),
      b.linear("ffn_up", "normed", "up", "hidden", "ffn", "mlp.up_proj", mlp_bias, "gate_up"),
      b.gate(Activation::silu),
      b.linear("ffn_down", "gated", "fed", "ffn", "hidden", "mlp.down_proj", mlp_bias),
      b.add("fed"),
  };
  interleave(block[1]);
  interleave(block[2]);
  b.a.before = {b.embed()};
  b.a.kinds = {std::move(block)};
  b.a.after = {b.final_norm(norm), b.head()};
  return b.a;
}

nlohmann::ordered_json write(const Architecture& a) {
  nlohmann::ordered_json c = {{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}};
  write_dimensions(a, c);
  c["hidden_act"] = "silu";
  c["rms_norm_eps"] = first_of<Norm>(a)->eps;
  const RopeTable& rope = first_of<Rope>(a)->table;
  c["rope_theta"] = rope.theta;
  if (rope.scaling != RopeScaling::none) c["rope_scaling"] = write_rope(rope);
  c["attention_bias"] = has_bias(a, "attn_q");
  c["mlp_bias"] = has_bias(a, "ffn_up");
  write_dtype_and_ids(a, c);
  return c;
}

void read_gguf(const GgufFacts& file, nlohmann::json& config) {
  if (const nlohmann::json rope = read_gguf_rope(file, "llama"); !rope.is_null()) config["rope_scaling"] = rope;
  config["attention_bias"] = has_tensor(file, "blk.0.attn_q.bias");
  config["mlp_bias"] = has_tensor(file, "blk.0.ffn_up.bias");
}

void write_gguf(const Architecture& a, GgufKeys& keys) { write_gguf_rope(a, first_of<Rope>(a)->table, keys); }

std::string gguf_refuses(const Architecture& a) { return gguf_rope_refuses(first_of<Rope>(a)->table); }

}  // namespace

const ArchitectureFamily& family_llama() {
  static const ArchitectureFamily family{.name = "llama",
                                         .model_types = kModelTypes,
                                         .architectures = kArchitectures,
                                         .describe = describe,
                                         .write_config = write,
                                         .gguf = "llama",
                                         .gguf_keys = kGgufDecoderKeys,
                                         .read_gguf = read_gguf,
                                         .write_gguf = write_gguf,
                                         .gguf_refuses = gguf_refuses,
                                         .hub_refuses = refuses_uneven_heads};
  return family;
}

}  // namespace kerf
