// Gemma 3, the text model: embedding scaled by sqrt(hidden), norms that act as 1 + w before and after attention and
// feed-forward part, queries and keys normalised by head, tanh-GELU gates, and a sliding window with rotary positions
// of its own on most layers. Source: transformers, models/gemma3.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"
#include "model/arch/config_reader.h"
#include "model/arch/decoder.h"
#include "model/arch/gguf_decoder.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"gemma3_text"};
constexpr std::string_view kArchitectures[] = {"Gemma3ForCausalLM", "Gemma3TextModel"};
constexpr double kGlobalTheta = 1e6, kLocalTheta = 1e4;
constexpr int64_t kPattern = 6;  // every sixth layer is global

struct Ropes {
  RopeTable global, local;
};

// transformers 5: rope_parameters with one object per layer type; a flat one is ignored there. Before: rope_theta,
// rope_local_base_freq, and rope_scaling, which is for global layers.
Ropes read_ropes(const ConfigReader& c, int64_t context) {
  Ropes r;
  r.global.theta = read_theta(c, "rope_theta", kGlobalTheta);
  r.local.theta = read_theta(c, "rope_local_base_freq", kLocalTheta);
  const bool both = c.has("rope_parameters");
  if (both) {
    const ConfigReader p = c.object("rope_parameters");
    if (p.has("sliding_attention")) r.local = read_rope_object(p.object("sliding_attention"), r.local, context);
    if (p.has("full_attention")) r.global = read_rope_object(p.object("full_attention"), r.global, context);
  }
  if (c.has("rope_scaling")) r.global = read_rope_object(c.object("rope_scaling"), r.global, context);
  return r;
}

std::vector<uint8_t> read_windowed(const ConfigReader& c, int64_t layers) {
  if (const auto types = read_layer_types(c, layers)) return *types;
  const int64_t pattern = c.size_or("sliding_window_pattern", kPattern);
  std::vector<uint8_t> windowed;
  for (int64_t layer = 0; layer < layers; ++layer) windowed.push_back((layer + 1) % pattern != 0);
  return windowed;
}

// Keys that say something and that transformers' Gemma 3 does not read.
void warn_of_unread(const ConfigReader& c) {
  if (c.has("attn_logit_softcapping"))
    warn(fmt::format(
        "{}: \"attn_logit_softcapping\" has no effect in Gemma 3, as in transformers: scores are not capped",
        c.name()));
  if (!c.has("rope_parameters")) return;
  const ConfigReader p = c.object("rope_parameters");
  if (!p.has("full_attention") && !p.has("sliding_attention"))
    warn(
        fmt::format("{}: \"rope_parameters\" has no \"full_attention\" or \"sliding_attention\" and is left out, as in "
                    "transformers: a flat one says nothing of Gemma 3's two rotations",
                    c.name()));
}

Architecture describe(const ConfigReader& config) {
  const Dimensions d = read_dimensions(config, {.kv_heads = 4, .head_dim = 256});
  DecoderBuilder b("gemma3", "gemma3", d);
  warn_of_unread(config);
  read_dtype_and_ids(config, b.a);
  const DecoderBuilder::NormStyle norm{
      .eps = config.number_or("rms_norm_eps", 1e-6), .plus = 1, .round_before_weight = false};
  if (norm.eps < 0)
    fail(ErrorKind::bad_input, "{}: {} must not be negative", config.name(), config.spelled("rms_norm_eps"));
  b.a.tied = config.flag_or("tie_word_embeddings", true);
  if (config.flag_or("use_bidirectional_attention", false))
    fail(ErrorKind::unsupported,
         "config.json: \"use_bidirectional_attention\" is true; kerf computes causal models only");
  if (const std::string act = config.text_or("hidden_activation", "gelu_pytorch_tanh"); act != "gelu_pytorch_tanh")
    fail(ErrorKind::unsupported,
         "config.json: \"hidden_activation\" \"{}\" is not supported for gemma3, only gelu_pytorch_tanh", act);
  const double scalar = config.number_or("query_pre_attn_scalar", 256);
  if (!(scalar > 0))
    fail(ErrorKind::bad_input, "config.json: \"query_pre_attn_scalar\" must be positive, not {}", scalar);
  const int64_t window = config.size_or("sliding_window", 4096);
  const bool bias = config.flag_or("attention_bias", false);
  const Ropes ropes = read_ropes(config, d.context);

  const auto block = [&](bool local) {
    const RopeTable& rope = local ? ropes.local : ropes.global;
    return Ops{
        b.norm("attn_norm", "x", "normed", "input_layernorm", norm),
        b.linear("attn_q", "normed", "q", "hidden", "head", "self_attn.q_proj", bias, "qkv"),
        b.linear("attn_k", "normed", "k", "hidden", "kv", "self_attn.k_proj", bias, "qkv"),
        b.linear("attn_v", "normed", "v", "hidden", "kv", "self_attn.v_proj", bias, "qkv"),
        b.norm("attn_q_norm", "q", "q", "self_attn.q_norm", norm, "head", true),
        b.norm("attn_k_norm", "k", "k", "self_attn.k_norm", norm, "kv", true),
        b.rope("q", "head", rope, d.head_dim),
        b.rope("k", "kv", rope, d.head_dim),
        b.attend({.window = local ? window : 0, .scale = 1 / std::sqrt(scalar), .ggml_scales_queries = true}),
        b.linear("attn_output", "heads", "attended", "head", "hidden", "self_attn.o_proj", bias),
        b.norm("post_attention_norm", "attended", "attended", "post_attention_layernorm", norm),
        b.add("attended"),
        b.norm("ffn_norm", "x", "normed", "pre_feedforward_layernorm", norm),
        b.linear("ffn_gate", "normed", "gate", "hidden", "ffn", "mlp.gate_proj", false, "gate_up"),
        b.linear("ffn_up", "normed", "up", "hidden", "ffn", "mlp.up_proj", false, "gate_up"),
        b.gate(Activation::gelu_tanh),
        b.linear("ffn_down", "gated", "fed", "ffn", "hidden", "mlp.down_proj"),
        b.norm("post_ffw_norm", "fed", "fed", "post_feedforward_layernorm", norm),
        b.add("fed"),
    };
  };
  const AxisId hidden = b.a.axis_named("hidden"), vocab = b.a.axis_named("vocab");
  b.a.before = {
      b.embed(),
      {.what = Scale{std::sqrt(static_cast<double>(d.hidden))}, .inputs = {"x"}, .output = "x", .axis = hidden}};
  b.a.kinds = {block(false), block(true)};
  b.a.kind_of_layer = read_windowed(config, d.layers);
  b.a.after = {b.final_norm(norm), b.head()};
  if (const double cap = config.number_or("final_logit_softcapping", 0); cap != 0)
    b.a.after.push_back({.what = Cap{cap}, .inputs = {"logits"}, .output = "logits", .axis = vocab});
  return b.a;
}

const RopeTable& rope_of(const Ops& ops) {
  for (const Op& op : ops)
    if (const Rope* r = op.as<Rope>()) return r->table;
  fail(ErrorKind::internal, "a block without rotary positions");
}
double cap_of(const Architecture& a) {
  const Cap* cap = a.after.back().as<Cap>();
  return cap ? cap->at : 0;
}

nlohmann::ordered_json write(const Architecture& a) {
  nlohmann::ordered_json c = {{"architectures", {"Gemma3ForCausalLM"}}, {"model_type", "gemma3_text"}};
  write_dimensions(a, c);
  c["hidden_activation"] = "gelu_pytorch_tanh";
  c["rms_norm_eps"] = first_of<Norm>(a)->eps;
  const Attend& attend = attend_of(a.kinds[0]);
  c["query_pre_attn_scalar"] = 1 / (attend.scale * attend.scale);
  c["sliding_window"] = attend_of(a.kinds[1]).window;
  c["layer_types"] = write_layer_types(a);
  c["rope_theta"] = rope_of(a.kinds[0]).theta;
  c["rope_local_base_freq"] = rope_of(a.kinds[1]).theta;
  nlohmann::ordered_json ropes;
  for (const size_t kind : {0, 1}) {
    nlohmann::ordered_json rope = write_rope(rope_of(a.kinds[kind]));
    rope["rope_theta"] = rope_of(a.kinds[kind]).theta;
    ropes[kind == 0 ? "full_attention" : "sliding_attention"] = rope;
  }
  c["rope_parameters"] = ropes;
  c["attention_bias"] = has_bias(a, "attn_q");
  if (cap_of(a) != 0) c["final_logit_softcapping"] = cap_of(a);
  write_dtype_and_ids(a, c);
  return c;
}

constexpr GgufKey kKeys[] = {
    kGgufDecoderKeys[0],
    kGgufDecoderKeys[1],
    kGgufDecoderKeys[2],
    kGgufDecoderKeys[3],
    kGgufDecoderKeys[4],
    kGgufDecoderKeys[5],
    kGgufDecoderKeys[6],
    kGgufDecoderKeys[7],
    kGgufDecoderKeys[8],
    kGgufDecoderKeys[9],
    kGgufDecoderKeys[10],
    {"rope.freq_base_swa", "/rope_local_base_freq", GgufKey::Type::number, GgufKey::Need::optional},
    {"attention.sliding_window", "/sliding_window", GgufKey::Type::size, GgufKey::Need::optional},
    {"final_logit_softcapping", "/final_logit_softcapping", GgufKey::Type::number, GgufKey::Need::optional},
};

// llama.cpp scales queries by 1 / sqrt(head size), but where there are 62 layers (the 27B model) by that of hidden /
// heads.
double llama_cpp_scalar(const Dimensions& d) {
  return d.layers == 62 ? static_cast<double>(d.hidden) / static_cast<double>(d.heads)
                        : static_cast<double>(d.head_dim);
}

void read_gguf(const GgufFacts& file, nlohmann::json& config) {
  config["attention_bias"] = has_tensor(file, "blk.0.attn_q.bias");
  if (!config.contains("rope_theta")) config["rope_theta"] = 10000.0;  // llama.cpp's default
  const auto layers = config.at("num_hidden_layers").get<int64_t>();
  if (layers < 1 || layers > (1 << 16))
    fail(ErrorKind::bad_input, "{}: gemma3.block_count is {}; 1 to 65536 belongs there", file.file, layers);
  const auto heads = config.at("num_attention_heads").get<int64_t>();
  if (heads < 1) fail(ErrorKind::bad_input, "{}: gemma3.attention.head_count is {}", file.file, heads);
  config["query_pre_attn_scalar"] = llama_cpp_scalar({.hidden = config.at("hidden_size").get<int64_t>(),
                                                      .layers = layers,
                                                      .heads = heads,
                                                      .head_dim = config.at("head_dim").get<int64_t>()});
  if (const nlohmann::json rope = read_gguf_rope(file, "gemma3"); !rope.is_null()) config["rope_scaling"] = rope;
  nlohmann::json types = nlohmann::json::array();
  const auto pattern = file.integers("gemma3.attention.sliding_window_pattern");
  const int64_t every = pattern ? 0 : file.integer("gemma3.attention.sliding_window_pattern").value_or(kPattern);
  if (pattern && static_cast<int64_t>(pattern->size()) < layers)
    fail(ErrorKind::bad_input, "{}: gemma3.attention.sliding_window_pattern has {} entries for {} layers", file.file,
         pattern->size(), layers);
  const bool any = config.contains("sliding_window") && config.at("sliding_window") != 0;
  if (!any) config.erase("sliding_window");
  for (int64_t layer = 0; layer < layers; ++layer) {
    const bool windowed = pattern ? (*pattern)[static_cast<size_t>(layer)] != 0 : every > 0 && (layer + 1) % every != 0;
    types.push_back(any && windowed ? "sliding_attention" : "full_attention");
  }
  config["layer_types"] = types;
}

void write_gguf(const Architecture& a, GgufKeys& keys) {
  bool regular = true;
  std::vector<bool> windowed;
  for (int64_t layer = 0; layer < a.layers(); ++layer) {
    windowed.push_back(is_windowed(a, layer));
    regular = regular && windowed.back() == ((layer + 1) % kPattern != 0);
  }
  if (!regular) keys.emplace_back("gemma3.attention.sliding_window_pattern", windowed);
  write_gguf_rope(a, rope_of(a.kinds[0]), keys);
}

std::string gguf_refuses(const Architecture& a) {
  const Dimensions d = dimensions_of(a);
  if (rope_of(a.kinds[1]).scaling != RopeScaling::none)
    return "the rotary positions of its local layers are scaled, and llama.cpp scales those of global layers only";
  const RopeTable& global = rope_of(a.kinds[0]);
  if (global.scaling == RopeScaling::llama3)
    return "its rotary positions are scaled as Llama 3's, which llama.cpp does not do for this family";
  if (const std::string reason = gguf_rope_refuses(global); !reason.empty()) return reason;
  if (has_bias(a, "attn_output")) return "its attn_output has a bias, and llama.cpp knows none for this family";
  const double scale = attend_of(a.kinds[0]).scale, theirs = 1 / std::sqrt(llama_cpp_scalar(d));
  if (std::abs(scale - theirs) > 1e-7 * theirs)
    return "its attention is scaled by query_pre_attn_scalar " + std::to_string(1 / (scale * scale)) +
           ", and llama.cpp takes the size of a head, " + std::to_string(d.head_dim) + ", for it";
  return "";
}

}  // namespace

const ArchitectureFamily& family_gemma3() {
  static const ArchitectureFamily family{.name = "gemma3",
                                         .model_types = kModelTypes,
                                         .architectures = kArchitectures,
                                         .describe = describe,
                                         .write_config = write,
                                         .activations_exceed_f16 = true,
                                         .gguf = "gemma3",
                                         .gguf_keys = kKeys,
                                         .read_gguf = read_gguf,
                                         .write_gguf = write_gguf,
                                         .gguf_refuses = gguf_refuses,
                                         .hub_refuses = refuses_uneven_heads};
  return family;
}

}  // namespace kerf
