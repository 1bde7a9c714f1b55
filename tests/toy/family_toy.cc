// An architecture that kerf does not have, as whoever brings one would write it: this file and no other. Attention and
// feed-forward part run side by side (Phi, GPT-NeoX, Cohere), after one LayerNorm with bias that both read or one for
// each; a part of each head is rotated; the feed-forward part has no gate; every matrix has a bias, the head too.
// With "fused" the checkpoint holds q, k and v in one tensor, as its "rows" or its "columns" (GPT-2), and the other
// matrices transposed; or all are "transposed".
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/arch/config_reader.h"
#include "model/arch/decoder.h"
#include "model/arch/family.h"

namespace kerf {
namespace {

constexpr std::string_view kModelTypes[] = {"toy"};
constexpr std::string_view kArchitectures[] = {"ToyForCausalLM"};

Op layer_norm(const Architecture& a, const char* role, const char* output, const std::string& checkpoint, double eps) {
  const std::vector<int64_t> shape = {a.axes.front().size};
  Norm n{.kind = Norm::Kind::layer,
         .eps = eps,
         .weight = {.role = role, .shape = shape, .checkpoint = {.tensor = checkpoint + ".weight"}, .gguf = {}},
         .bias = Param{.role = role, .shape = shape, .checkpoint = {.tensor = checkpoint + ".bias"}, .gguf = {}}};
  return {.what = std::move(n), .inputs = {"x"}, .output = output, .axis = 0};
}

// q, k, v in self_attn.qkv_proj but for "transposed", all other matrices as [in, out].
void fuse(Ops& ops, const std::string& how) {
  int64_t row = 0;
  for (Op& op : ops) {
    auto* m = std::get_if<MatMul>(&op.what);
    if (!m) continue;
    if (m->fused != "qkv" || how == "transposed") {
      m->weight.checkpoint.transposed = true;
      continue;
    }
    const int64_t end = row + m->weight.shape[0];
    m->weight.checkpoint = {.tensor = "model.layers.{}.self_attn.qkv_proj.weight",
                            .row_begin = row,
                            .row_end = end,
                            .transposed = how == "columns"};
    m->bias->checkpoint = {.tensor = "model.layers.{}.self_attn.qkv_proj.bias", .row_begin = row, .row_end = end};
    row = end;
  }
}

Architecture describe(const ConfigReader& config) {
  const Dimensions d = read_dimensions(config);
  DecoderBuilder b("toy", "", d);
  read_dtype_and_ids(config, b.a);
  const double eps = config.number_or("layer_norm_eps", 1e-5);
  const bool shared = config.flag_or("shared_norm", true);
  const RopeTable rope = read_rope(config, 10000, d.context);
  const int64_t rotated = read_rotated(config, d.head_dim);
  const char* fed_from = shared ? "normed" : "normed_too";
  Ops block = {layer_norm(b.a, "attn_norm", "normed", "model.layers.{}.input_layernorm", eps),
               b.linear("attn_q", "normed", "q", "hidden", "head", "self_attn.q_proj", true, "qkv"),
               b.linear("attn_k", "normed", "k", "hidden", "kv", "self_attn.k_proj", true, "qkv"),
               b.linear("attn_v", "normed", "v", "hidden", "kv", "self_attn.v_proj", true, "qkv"),
               b.rope("q", "head", rope, rotated),
               b.rope("k", "kv", rope, rotated),
               b.attend({.scale = 1 / std::sqrt(static_cast<double>(d.head_dim))}),
               b.linear("attn_output", "heads", "attended", "head", "hidden", "self_attn.o_proj", true)};
  if (!shared)
    block.push_back(layer_norm(b.a, "ffn_norm", "normed_too", "model.layers.{}.post_attention_layernorm", eps));
  const Ops rest = {
      b.linear("ffn_up", fed_from, "up", "hidden", "ffn", "mlp.up_proj", true),
      {.what = Activate{Activation::gelu_tanh}, .inputs = {"up"}, .output = "curved", .axis = b.a.axis_named("ffn")},
      b.linear("ffn_down", "curved", "fed", "ffn", "hidden", "mlp.down_proj", true),
      b.add("attended"),
      b.add("fed")};
  block.insert(block.end(), rest.begin(), rest.end());
  const std::string fused = config.text_or("fused", "no");
  if (fused != "no" && fused != "rows" && fused != "columns" && fused != "transposed")
    fail(ErrorKind::bad_input, "config.json: \"fused\" must be no, rows, columns or transposed, not {}", fused);
  if (fused != "no") fuse(block, fused);
  b.a.before = {b.embed()};
  b.a.kinds = {std::move(block)};
  Op head = b.head();
  auto& matrix = std::get<MatMul>(head.what);
  matrix.bias = Param{.role = "output", .shape = {d.vocab}, .checkpoint = {.tensor = "lm_head.bias"}, .gguf = {}};
  b.a.after = {layer_norm(b.a, "output_norm", "x", "model.norm", eps), std::move(head)};
  return b.a;
}

nlohmann::ordered_json write(const Architecture& a) {
  nlohmann::ordered_json c = {{"architectures", {"ToyForCausalLM"}}, {"model_type", "toy"}};
  write_dimensions(a, c);
  c["layer_norm_eps"] = first_of<Norm>(a)->eps;
  const Rope& rope = *first_of<Rope>(a);
  c["rope_theta"] = rope.table.theta;
  c["partial_rotary_factor"] =
      static_cast<double>(rope.rotated) / static_cast<double>(a.axis(a.axis_named("head")).group_size());
  int64_t norms = 0;
  for (const Op& op : a.kinds[0]) norms += op.as<Norm>() != nullptr;
  c["shared_norm"] = norms == 1;
  const StoredAs &q = matrix_of(a, "attn_q").weight.checkpoint, &o = matrix_of(a, "attn_output").weight.checkpoint;
  c["fused"] = !o.transposed ? "no" : q.row_end < 0 ? "transposed" : q.transposed ? "columns" : "rows";
  write_dtype_and_ids(a, c);
  return c;
}

}  // namespace

const ArchitectureFamily& family_toy() {
  static const ArchitectureFamily family{.name = "toy",
                                         .model_types = kModelTypes,
                                         .architectures = kArchitectures,
                                         .describe = describe,
                                         .write_config = write};
  return family;
}

}  // namespace kerf
