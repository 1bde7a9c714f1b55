// What follows from a description: names, shapes, groups of matrices, and the check of a checkpoint against them.
#include "model/arch/architecture.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/log.h"

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

void check_tensor(const Architecture& a, const TensorSource& source, const ExpectedTensor& expected) {
  const TensorInfo* found = source.find(expected.name);
  if (found && found->shape == expected.shape) return;
  const bool embedding = expected.name == a.embedding().name;
  const bool head = expected.name == a.head().name;
  if (!found)
    fail(ErrorKind::bad_input, "the checkpoint has no tensor {} (shape {}), which {} needs{}", expected.name,
         shape_text(expected.shape), a.family,
         head ? "; if the head is the embedding matrix, config.json must say \"tie_word_embeddings\": true" : "");
  if ((embedding || head) && found->shape.size() == 2 && found->shape[1] == expected.shape[1])
    fail(ErrorKind::bad_input, "tensor {} has {} rows, but config.json says \"vocab_size\": {}", expected.name,
         found->shape[0], a.vocab());
  fail(ErrorKind::bad_input, "tensor {} has shape {}, but config.json implies {}", expected.name,
       shape_text(found->shape), shape_text(expected.shape));
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
                               : SitePlace::block};
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
  std::unordered_set<std::string> used;
  for (int64_t layer = -1; layer < a.layers(); ++layer)
    for (const ExpectedTensor& expected : a.expected_tensors(layer)) {
      check_tensor(a, source, expected);
      used.insert(expected.name);
    }

  // Older checkpoints store the rotation frequencies, and tied ones sometimes their head a second time.
  const std::string tied_head = a.tied ? weight_name(a.after[a.head_at()].as<MatMul>()->weight, -1) : "";
  std::string examples;
  int64_t unused = 0;
  for (const TensorInfo& t : source.tensors()) {
    if (used.count(t.name) || t.name.ends_with("rotary_emb.inv_freq")) continue;
    if (a.tied && t.name == tied_head) continue;
    if (++unused <= 3) examples += (unused > 1 ? ", " : "") + t.name;
  }
  if (unused)
    warn(
        fmt::format("{} tensor(s) of the checkpoint are not part of {} as config.json describes it and are left out: "
                    "{}{}",
                    unused, a.family, examples, unused > 3 ? ", ..." : ""));
}

}  // namespace kerf
