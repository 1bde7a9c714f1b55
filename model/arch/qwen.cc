#include "model/arch/qwen.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/arch/decoder.h"
#include "model/arch/gguf_decoder.h"

namespace kerf {
namespace {

// Kind 0 is full attention, kind 1 has the window.
void read_windows(const ConfigReader& c, const Dimensions& d, Architecture& a, int64_t* window) {
  *window = 0;
  std::vector<uint8_t> windowed(static_cast<size_t>(d.layers), 0);
  const bool used = c.flag_or("use_sliding_window", false) && !c.is_null("sliding_window");
  if (used) {
    *window = c.size_or("sliding_window", 4096);
    const int64_t first =
        c.has("max_window_layers") && c.at("max_window_layers") == 0 ? 0 : c.size_or("max_window_layers", 28);
    for (int64_t layer = first; layer < d.layers; ++layer) windowed[static_cast<size_t>(layer)] = 1;
  }
  if (const auto types = read_layer_types(c, d.layers)) {
    windowed = *types;
    if (!used && std::count(windowed.begin(), windowed.end(), 1) > 0)
      fail(ErrorKind::bad_input,
           "{}: \"layer_types\" names sliding_attention, and \"use_sliding_window\" is not true; set it, or name "
           "full_attention only",
           c.name());
  }
  a.kind_of_layer = windowed;
}

}  // namespace

Architecture describe_qwen(const ConfigReader& config, const QwenStyle& style) {
  const Dimensions d = read_dimensions(config, style.defaults);
  DecoderBuilder b(style.family, style.family, d);
  read_dtype_and_ids(config, b.a);
  const RopeTable rope = read_rope(config, 10000, d.context);
  if (read_rotated(config, d.head_dim) != d.head_dim)
    fail(ErrorKind::unsupported, "{}: \"partial_rotary_factor\" is not supported for {}, only 1", config.name(),
         style.family);
  const DecoderBuilder::NormStyle norm{.eps = config.number_or("rms_norm_eps", 1e-6)};
  if (norm.eps < 0)
    fail(ErrorKind::bad_input, "{}: {} must not be negative", config.name(), config.spelled("rms_norm_eps"));
  b.a.tied = config.flag_or("tie_word_embeddings", false);
  if (const std::string act = config.text_or("hidden_act", "silu"); act != "silu" && act != "swish")
    fail(ErrorKind::unsupported, "{}: \"hidden_act\" \"{}\" is not supported for {}, only silu", config.name(), act,
         style.family);
  int64_t window = 0;
  read_windows(config, d, b.a, &window);

  const auto block = [&](int64_t of_layer) {
    Ops ops = {
        b.norm("attn_norm", "x", "normed", "input_layernorm", norm),
        b.linear("attn_q", "normed", "q", "hidden", "head", "self_attn.q_proj", style.qkv_bias, "qkv"),
        b.linear("attn_k", "normed", "k", "hidden", "kv", "self_attn.k_proj", style.qkv_bias, "qkv"),
        b.linear("attn_v", "normed", "v", "hidden", "kv", "self_attn.v_proj", style.qkv_bias, "qkv"),
    };
    if (style.head_norms) {
      ops.push_back(b.norm("attn_q_norm", "q", "q", "self_attn.q_norm", norm, "head", true));
      ops.push_back(b.norm("attn_k_norm", "k", "k", "self_attn.k_norm", norm, "kv", true));
    }
    const Ops rest = {
        b.rope("q", "head", rope, d.head_dim),
        b.rope("k", "kv", rope, d.head_dim),
        b.attend({.window = of_layer, .scale = 1 / std::sqrt(static_cast<double>(d.head_dim))}),
        b.linear("attn_output", "heads", "attended", "head", "hidden", "self_attn.o_proj", style.o_bias),
        b.add("attended"),
        b.norm("ffn_norm", "x", "normed", "post_attention_layernorm", norm),
        b.linear("ffn_gate", "normed", "gate", "hidden", "ffn", "mlp.gate_proj", false, "gate_up"),
        b.linear("ffn_up", "normed", "up", "hidden", "ffn", "mlp.up_proj", false, "gate_up"),
        b.gate(Activation::silu),
        b.linear("ffn_down", "gated", "fed", "ffn", "hidden", "mlp.down_proj"),
        b.add("fed"),
    };
    ops.insert(ops.end(), rest.begin(), rest.end());
    return ops;
  };
  b.a.before = {b.embed()};
  b.a.kinds = {block(0)};
  if (window > 0) b.a.kinds.push_back(block(window));
  b.a.after = {b.final_norm(norm), b.head()};
  return b.a;
}

nlohmann::ordered_json write_qwen_config(const Architecture& a, const QwenStyle& style) {
  nlohmann::ordered_json c = {{"architectures", {style.architecture}}, {"model_type", style.model_type}};
  write_dimensions(a, c);
  c["hidden_act"] = "silu";
  c["rms_norm_eps"] = first_of<Norm>(a)->eps;
  const RopeTable& rope = first_of<Rope>(a)->table;
  c["rope_theta"] = rope.theta;
  if (rope.scaling != RopeScaling::none) c["rope_scaling"] = write_rope(rope);
  c["use_sliding_window"] = a.kinds.size() > 1;
  c["sliding_window"] = nullptr;
  if (a.kinds.size() > 1) {
    c["sliding_window"] = attend_of(a.kinds[1]).window;
    c["layer_types"] = write_layer_types(a);
  }
  write_dtype_and_ids(a, c);
  return c;
}

void read_qwen_gguf(const GgufFacts& file, std::string_view architecture, nlohmann::json& config) {
  if (const nlohmann::json rope = read_gguf_rope(file, architecture); !rope.is_null()) config["rope_scaling"] = rope;
}

void write_qwen_gguf(const Architecture& a, GgufKeys& keys) { write_gguf_rope(a, first_of<Rope>(a)->table, keys); }

std::string qwen_gguf_refuses(const Architecture& a) {
  const RopeTable& rope = first_of<Rope>(a)->table;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    if (is_windowed(a, layer) && attend_of(a.block(layer)).window < a.context)
      return "its layers look back through a sliding window, and llama.cpp has none for this family; choose a target "
             "that loads safetensors";
  if (rope.scaling == RopeScaling::llama3)
    return "its rotary positions are scaled as Llama 3's, which llama.cpp does not do for this family";
  if (const std::string reason = gguf_rope_refuses(rope); !reason.empty()) return reason;
  if (has_bias(a, "attn_output")) return "its attn_output has a bias, and llama.cpp knows none for this family";
  return "";
}

}  // namespace kerf
