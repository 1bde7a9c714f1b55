// Walks back from a group of matrices through operations that let a scale of channels pass (Operation::fold) to one
// whose weights can take it. Every activation on the way must have no other reader.
#include "model/ops/folds.h"

#include <algorithm>
#include <numeric>

#include "model/ops/op.h"

namespace kerf {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

// The operation before i that writes the slot last.
size_t writer_of(const Ops& ops, const std::string& slot, size_t i) {
  while (i-- > 0)
    if (ops[i].output == slot) return i;
  return kNone;
}

// How often what operation i writes is read. The residual stream leaves the block, too.
size_t readers_of(const Ops& ops, size_t i) {
  size_t n = 0;
  for (size_t j = i + 1; j < ops.size(); ++j) {
    n += static_cast<size_t>(std::count(ops[j].inputs.begin(), ops[j].inputs.end(), ops[i].output));
    if (ops[j].output == ops[i].output) return n;
  }
  return n + (ops[i].output == "x");
}

std::optional<std::vector<size_t>> group_of(const Architecture& a, const Ops& ops, const Site& site) {
  for (const std::vector<size_t>& group : input_groups(ops))
    for (const size_t i : group)
      if (site_of(a, ops[i], site.layer).name == site.name) return group;
  return std::nullopt;
}

}  // namespace

std::optional<Fold> fold_before(const Architecture& a, const Site& site) {
  if (site.layer < 0) return std::nullopt;
  const Ops& ops = a.block(site.layer);
  const auto group = group_of(a, ops, site);
  if (!group) return std::nullopt;
  std::vector<int64_t> source(static_cast<size_t>(site.in));
  std::iota(source.begin(), source.end(), 0);
  size_t readers = group->size();
  size_t at = writer_of(ops, ops[group->front()].inputs[0], group->front());
  while (at != kNone && readers_of(ops, at) == readers) {
    const Op& op = ops[at];
    const FoldRule rule = operation(op).fold ? operation(op).fold(op) : FoldRule{};
    if (rule.where == FoldRule::Where::nowhere) return std::nullopt;
    if (rule.where == FoldRule::Where::own_weight) {
      Fold fold{.channels = a.axis(op.axis).size, .source = std::move(source)};
      if (const Norm* n = op.as<Norm>()) {
        fold.norm = weight_name(n->weight, site.layer);
        if (n->bias) fold.norm_bias = weight_name(*n->bias, site.layer);
      } else {
        const Site producer = site_of(a, op, site.layer);
        fold.site = producer.name;
        fold.bias = producer.bias;
      }
      return fold;
    }
    const size_t before = writer_of(ops, op.inputs[rule.input], at);
    if (rule.shared_heads && before != kNone) {  // a key-value head serves several heads
      const Axis &to = a.axis(op.axis), &from = a.axis(ops[before].axis);
      const int64_t size = to.group_size(), share = to.groups / from.groups;
      for (int64_t& c : source) c = c / size / share * size + c % size;
    }
    at = before;
    readers = 1;
  }
  return std::nullopt;
}

}  // namespace kerf
