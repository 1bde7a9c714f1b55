// Names follow one pattern: "model.layers.{}.<module>" in checkpoints, "blk.{}.<role>" in GGUF.
#include "model/arch/decoder.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace kerf {
namespace {

Param block_param(const std::string& role, const std::string& checkpoint, const char* suffix,
                  std::vector<int64_t> shape) {
  return {.role = role,
          .shape = std::move(shape),
          .checkpoint = {.tensor = "model.layers.{}." + checkpoint + suffix},
          .gguf = {.tensor = "blk.{}." + role + suffix}};
}

}  // namespace

DecoderBuilder::DecoderBuilder(std::string family, std::string gguf_name, const Dimensions& d) {
  a.family = std::move(family);
  a.gguf_name = std::move(gguf_name);
  a.axes = {{"hidden", d.hidden},
            {"ffn", d.ffn},
            {"head", d.heads * d.head_dim, d.heads},
            {"kv", d.kv_heads * d.head_dim, d.kv_heads},
            {"vocab", d.vocab}};
  a.context = d.context;
  a.kind_of_layer.assign(static_cast<size_t>(d.layers), 0);
}

Op DecoderBuilder::linear(const char* role, const char* input, const char* output, const char* in, const char* out,
                          const std::string& checkpoint, bool bias, const char* fused) const {
  const int64_t rows = a.axis(id(out)).size, cols = a.axis(id(in)).size;
  MatMul m{.in = id(in), .weight = block_param(role, checkpoint, ".weight", {rows, cols}), .fused = fused};
  if (bias) m.bias = block_param(role, checkpoint, ".bias", {rows});
  return {.what = std::move(m), .inputs = {input}, .output = output, .axis = id(out)};
}

Op DecoderBuilder::norm(const char* role, const char* input, const char* output, const std::string& checkpoint,
                        NormStyle style, const char* axis, bool per_group) const {
  const Axis& over = a.axis(id(axis));
  Norm n{.eps = style.eps,
         .per_group = per_group,
         .round_before_weight = style.round_before_weight,
         .weight = block_param(role, checkpoint, ".weight", {per_group ? over.group_size() : over.size})};
  n.weight.checkpoint.plus = style.plus;
  return {.what = std::move(n), .inputs = {input}, .output = output, .axis = id(axis)};
}

Op DecoderBuilder::rope(const char* slot, const char* axis, RopeTable table, int64_t rotated) const {
  return {
      .what = Rope{.table = std::move(table), .rotated = rotated}, .inputs = {slot}, .output = slot, .axis = id(axis)};
}
Op DecoderBuilder::attend(Attend attend) const {
  attend.kv = id("kv");
  return {.what = attend, .inputs = {"q", "k", "v"}, .output = "heads", .axis = id("head")};
}
Op DecoderBuilder::gate(Activation f) const {
  return {.what = Activate{f}, .inputs = {"gate", "up"}, .output = "gated", .axis = id("ffn")};
}
Op DecoderBuilder::add(const char* other) const {
  return {.what = Add{}, .inputs = {"x", other}, .output = "x", .axis = id("hidden")};
}

Op DecoderBuilder::embed() const {
  const Param weight{.role = "token_embd",
                     .shape = {a.axis(id("vocab")).size, a.axis(id("hidden")).size},
                     .checkpoint = {.tensor = "model.embed_tokens.weight"},
                     .gguf = {.tensor = "token_embd.weight"}};
  return {.what = Embed{weight}, .inputs = {}, .output = "x", .axis = id("hidden")};
}
Op DecoderBuilder::final_norm(NormStyle style) const {
  const Param weight{.role = "output_norm",
                     .shape = {a.axis(id("hidden")).size},
                     .checkpoint = {.tensor = "model.norm.weight", .plus = style.plus},
                     .gguf = {.tensor = "output_norm.weight"}};
  const Norm n{.eps = style.eps, .round_before_weight = style.round_before_weight, .weight = weight};
  return {.what = n, .inputs = {"x"}, .output = "x", .axis = id("hidden")};
}
Op DecoderBuilder::head() const {
  const Param weight{.role = "output",
                     .shape = {a.axis(id("vocab")).size, a.axis(id("hidden")).size},
                     .checkpoint = {.tensor = "lm_head.weight"},
                     .gguf = {.tensor = "output.weight"}};
  return {
      .what = MatMul{.in = id("hidden"), .weight = weight}, .inputs = {"x"}, .output = "logits", .axis = id("vocab")};
}

void interleave(Op& linear) {
  auto& m = std::get<MatMul>(linear.what);
  m.weight.gguf.interleaved = true;
  if (m.bias) m.bias->gguf.interleaved = true;
}

Dimensions dimensions_of(const Architecture& a) {
  const Axis &head = a.axis(a.axis_named("head")), &kv = a.axis(a.axis_named("kv"));
  return {.hidden = a.hidden(),
          .ffn = a.axis(a.axis_named("ffn")).size,
          .layers = a.layers(),
          .heads = head.groups,
          .kv_heads = kv.groups,
          .head_dim = head.group_size(),
          .vocab = a.vocab(),
          .context = a.context};
}

const MatMul& matrix_of(const Architecture& a, std::string_view role) {
  for (const Ops& ops : a.kinds)
    for (const Op& op : ops)
      if (const MatMul* m = op.as<MatMul>(); m && m->weight.role == role) return *m;
  fail(ErrorKind::internal, "{} has no matrix {}", a.family, role);
}

bool has_bias(const Architecture& a, std::string_view role) { return matrix_of(a, role).bias.has_value(); }

const Attend& attend_of(const Ops& ops) {
  for (const Op& op : ops)
    if (const Attend* a = op.as<Attend>()) return *a;
  fail(ErrorKind::internal, "a block without attention");
}

std::optional<std::vector<uint8_t>> read_layer_types(const ConfigReader& c, int64_t layers) {
  if (!c.has("layer_types")) return std::nullopt;
  const nlohmann::json& list = c.at("layer_types");
  if (!list.is_array() || static_cast<int64_t>(list.size()) != layers)
    fail(ErrorKind::bad_input, "{}: \"layer_types\" must be a list of {} words, one for each layer", c.name(), layers);
  std::vector<uint8_t> windowed;
  for (const nlohmann::json& type : list) {
    if (type != "full_attention" && type != "sliding_attention")
      fail(ErrorKind::unsupported, "{}: \"layer_types\" may hold full_attention and sliding_attention only", c.name());
    windowed.push_back(type == "sliding_attention");
  }
  return windowed;
}

bool is_windowed(const Architecture& a, int64_t layer) { return attend_of(a.block(layer)).window > 0; }

std::string refuses_uneven_heads(const Architecture& a) {
  const Dimensions d = dimensions_of(a);
  if (d.hidden % d.heads == 0) return "";
  return "its hidden_size, " + std::to_string(d.hidden) + ", is no multiple of its " + std::to_string(d.heads) +
         " heads";
}

nlohmann::ordered_json write_layer_types(const Architecture& a) {
  nlohmann::ordered_json types = nlohmann::ordered_json::array();
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    types.push_back(is_windowed(a, layer) ? "sliding_attention" : "full_attention");
  return types;
}

void write_dimensions(const Architecture& a, nlohmann::ordered_json& c) {
  const Dimensions d = dimensions_of(a);
  c["hidden_size"] = d.hidden;
  c["intermediate_size"] = d.ffn;
  c["num_hidden_layers"] = d.layers;
  c["num_attention_heads"] = d.heads;
  c["num_key_value_heads"] = d.kv_heads;
  c["head_dim"] = d.head_dim;
  c["vocab_size"] = d.vocab;
  c["max_position_embeddings"] = d.context;
  c["tie_word_embeddings"] = a.tied;
}

}  // namespace kerf
