// What follows from a description: names, shapes, groups of matrices, and the check of a checkpoint against them.
#include "model/arch/architecture.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/log.h"
#include "core/words.h"

namespace kerf {
namespace {

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// f(param) for every weight of an operation.
template <class F>
void for_params(const Op& op, F&& f) {
  if (const Embed* e = op.as<Embed>()) f(e->weight);
  if (const Norm* n = op.as<Norm>()) {
    f(n->weight);
    if (n->bias) f(*n->bias);
  }
  if (const MatMul* m = op.as<MatMul>()) {
    f(m->weight);
    if (m->bias) f(*m->bias);
  }
}

ExpectedTensor expected(const Architecture& a, const Op& op, const Param& p, int64_t layer) {
  ExpectedTensor t{.name = weight_name(p, layer),
                   .shape = p.shape,
                   .gguf = tensor_name(p.gguf.tensor, layer),
                   .plus = p.checkpoint.plus,
                   .gguf_plus = p.gguf.plus,
                   .interleaved = p.gguf.interleaved ? a.axis(op.axis).group_size() : 0,
                   .stored = p.checkpoint};
  t.stored.tensor = tensor_name(p.checkpoint.tensor, layer);
  return t;
}

// The matrix of a tied head is the embedding, which is there already.
void add_expected(const Architecture& a, const Ops& ops, int64_t layer, std::vector<ExpectedTensor>& all) {
  for (const Op& op : ops)
    for_params(op, [&](const Param& p) {
      const bool is_embedding = layer < 0 && a.tied && op.as<MatMul>() && &p == &op.as<MatMul>()->weight;
      if (!is_embedding) all.push_back(expected(a, op, p, layer));
    });
}

using NameSet = std::unordered_set<std::string>;

NameSet expected_names(const Architecture& a) {
  NameSet names;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& t : a.expected_tensors(layer)) names.insert(t.name);
  return names;
}

std::string_view parent(std::string_view name) { return name.substr(0, name.rfind('.')); }

// A layer past the last, or -1.
int64_t layer_past_the_last(const Architecture& a, const std::string& name) {
  const std::string pattern =
      a.kinds.front().front().as<Norm>() ? a.kinds.front().front().as<Norm>()->weight.checkpoint.tensor : std::string();
  const size_t hole = pattern.find("{}");
  if (hole == pattern.npos || name.size() <= hole || name.compare(0, hole, pattern, 0, hole) != 0) return -1;
  int64_t layer = 0;
  size_t at = hole;
  for (; at < name.size() && at < hole + 6 && name[at] >= '0' && name[at] <= '9'; ++at)
    layer = 10 * layer + name[at] - '0';
  return at > hole && at < name.size() && name[at] == '.' && layer >= a.layers() ? layer : -1;
}

// Why tensors that nothing uses may be there.
std::string why_unused(const Architecture& a, const std::string& name) {
  if (const int64_t layer = layer_past_the_last(a, name); layer >= 0)
    return fmt::format("; config.json says \"num_hidden_layers\": {}, and this is of layer {}", a.layers(), layer);
  for (const std::string_view part :
       {".SCB", ".weight_format", ".weight_scale", ".weight_scale_inv", ".weight_packed", ".weight_zero_point",
        ".input_scale", ".qweight", ".qzeros", ".scales", ".g_idx", ".absmax", ".quant_map"})
    if (name.ends_with(part)) return ", as in a quantized model, and no quantization_config says how to read it";
  return "";
}

// What is stored in place of a tensor: others of its module, or beside it, or else any that nothing asks for.
std::string what_is_there(const Architecture& a, const TensorSource& source, const std::string& name) {
  const NameSet known = expected_names(a);
  const std::string module = fmt::format("{}.", parent(name)), block = fmt::format("{}.", parent(parent(name)));
  std::vector<std::string> of_module, of_block, any;
  std::string why;
  for (const TensorInfo& t : source.tensors()) {
    if (known.contains(t.name)) continue;
    any.push_back(t.name);
    if (t.name.starts_with(module)) {
      of_module.push_back(t.name);
      if (why.empty()) why = why_unused(a, t.name);
    } else if (t.name.starts_with(block)) {
      of_block.push_back(t.name);
    }
  }
  if (!of_module.empty()) return fmt::format("; in its place there are {}{}", some_of(of_module), why);
  if (!of_block.empty()) return fmt::format("; beside it there are {}", some_of(of_block));
  if (!any.empty()) return fmt::format("; among its {} tensors are {}", source.tensors().size(), some_of(any));
  if (source.tensors().empty()) return "; it has none at all";
  return fmt::format("; its {} tensors are all other parts of the model", source.tensors().size());
}

void check_tensor(const Architecture& a, const TensorSource& source, const ExpectedTensor& expected) {
  const TensorInfo* found = source.find(expected.name);
  if (found && found->shape == expected.shape) return;
  const bool embedding = expected.name == a.embedding().name;
  const bool head = expected.name == a.head().name;
  if (!found)
    fail(ErrorKind::bad_input, "the checkpoint has no tensor {} (shape {}), which {} needs{}{}", expected.name,
         shape_text(expected.shape), a.family, what_is_there(a, source, expected.name),
         head ? "; if the head is the embedding matrix, config.json must say \"tie_word_embeddings\": true" : "");
  if ((embedding || head) && found->shape.size() == 2 && found->shape[1] == expected.shape[1])
    fail(ErrorKind::bad_input, "tensor {} has {} rows, but config.json says \"vocab_size\": {}", expected.name,
         found->shape[0], a.vocab());
  fail(ErrorKind::bad_input, "tensor {} has shape {}, but config.json implies {}", expected.name,
       shape_text(found->shape), shape_text(expected.shape));
}

bool all_zero(const TensorSource& source, const TensorInfo& t) {
  std::vector<float> values(static_cast<size_t>(t.elements()));
  source.read(t, 0, values);
  return std::all_of(values.begin(), values.end(), [](float v) { return v == 0; });
}

// What is known to change nothing: tables of rotations and positions, which follow from config.json; the value head of
// a trainer (TRL); the matrix of a tied head, which is the embedding again; biases of zeros (AutoGPTQ).
bool harmless(const Architecture& a, const TensorSource& source, const TensorInfo& t) {
  for (const std::string_view table :
       {"rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", ".position_ids"})
    if (t.name.ends_with(table)) return true;
  if (t.name.starts_with("v_head.")) return true;
  if (a.tied && t.name == a.head_matrix()) return true;
  return t.name.ends_with(".bias") && t.shape.size() == 1 && bits_of(t.dtype) >= 16 && all_zero(source, t);
}

}  // namespace

std::string tensor_name(std::string_view pattern, int64_t layer) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, hole), layer, pattern.substr(hole + 2));
}

std::string weight_name(const Param& p, int64_t layer) {
  const StoredAs& as = p.checkpoint;
  const std::string name = tensor_name(as.tensor, layer);
  if (as.row_begin == 0 && as.row_end < 0) return name;
  return fmt::format("{}[{}:{}]", name, as.row_begin, as.row_end);
}

Site site_of(const Architecture& a, const Op& op, int64_t layer) {
  const auto* m = op.as<MatMul>();
  const auto* e = op.as<Embed>();
  const Param& weight = m ? m->weight : e->weight;
  const ExpectedTensor t = expected(a, op, weight, layer);
  return {.role = weight.role,
          .layer = layer,
          .name = t.name,
          .bias = m && m->bias ? weight_name(*m->bias, layer) : "",
          .out = t.shape[0],
          .in = t.shape[1],
          .fused = m ? m->fused : "",
          .gguf = t.gguf,
          .place = e           ? SitePlace::embedding
                   : layer < 0 ? SitePlace::head
                               : SitePlace::block,
          .out_axis = e ? a.axis_named("vocab") : op.axis,
          .in_axis = e ? op.axis : m->in};
}

std::vector<std::vector<size_t>> input_groups(const Ops& ops) {
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].as<MatMul>()) continue;
    const bool joins =
        !groups.empty() && groups.back().back() + 1 == i && ops[groups.back()[0]].inputs == ops[i].inputs;
    if (!joins) groups.emplace_back();
    groups.back().push_back(i);
  }
  return groups;
}

AxisId Architecture::axis_named(std::string_view name) const {
  for (AxisId id = 0; id < axes.size(); ++id)
    if (axes[id].name == name) return id;
  fail(ErrorKind::internal, "{} has no axis {}", family, name);
}

int64_t Architecture::widest() const {
  int64_t most = hidden();
  for (const Ops& ops : kinds)
    for (const Op& op : ops) most = std::max(most, axis(op.axis).size);
  return most;
}

std::vector<Site> Architecture::block_sites(int64_t layer) const {
  std::vector<Site> sites;
  for (const Op& op : block(layer))
    if (op.as<MatMul>()) sites.push_back(site_of(*this, op, layer));
  return sites;
}

Site Architecture::embedding() const { return site_of(*this, before.front(), -1); }

size_t Architecture::head_at() const {
  for (size_t i = 0; i < after.size(); ++i)
    if (after[i].as<MatMul>()) return i;
  fail(ErrorKind::internal, "{} has no head", family);
}

std::string Architecture::head_matrix() const { return weight_name(after[head_at()].as<MatMul>()->weight, -1); }

Site Architecture::head() const { return tied ? embedding() : site_of(*this, after[head_at()], -1); }

std::vector<ExpectedTensor> Architecture::expected_tensors(int64_t layer) const {
  std::vector<ExpectedTensor> all;
  if (layer >= 0) {
    add_expected(*this, block(layer), layer, all);
  } else {
    add_expected(*this, before, layer, all);
    add_expected(*this, after, layer, all);
  }
  return all;
}

void check_tensors(const Architecture& a, const TensorSource& source) {
  NameSet used;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      check_tensor(a, source, expected);
      used.insert(expected.name);
    }

  std::vector<std::string> left_out, unknown;
  std::string why;
  for (const TensorInfo& t : source.tensors()) {
    if (used.contains(t.name)) continue;
    if (harmless(a, source, t)) {
      left_out.push_back(t.name);
      continue;
    }
    unknown.push_back(t.name);
    if (why.empty()) why = why_unused(a, t.name);
  }
  if (!unknown.empty())
    fail(ErrorKind::unsupported,
         "the checkpoint has {} tensor(s) that are no part of {} as config.json describes it: {}{}; only what is known "
         "to "
         "change nothing is left out",
         unknown.size(), a.family, some_of(unknown), why);
  if (!left_out.empty())
    note(fmt::format("{} tensor(s) of the checkpoint are left out, which change nothing: {}", left_out.size(),
                     some_of(left_out)));
}

}  // namespace kerf
