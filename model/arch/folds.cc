#include "model/arch/folds.h"

#include <algorithm>
#include <numeric>

namespace kerf {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

// The operation before i that writes the slot last.
size_t writer_of(const std::vector<Op>& ops, const std::string& slot, size_t i) {
  while (i-- > 0)
    if (ops[i].output == slot) return i;
  return kNone;
}

// How many operations read what operation i writes.
int readers_of(const std::vector<Op>& ops, size_t i) {
  int n = 0;
  for (size_t j = i + 1; j < ops.size(); ++j) {
    n += static_cast<int>(std::count(ops[j].inputs.begin(), ops[j].inputs.end(), ops[i].output));
    if (ops[j].output == ops[i].output) break;
  }
  return n;
}

// A linear whose rows can be scaled: nothing else reads it.
std::optional<Fold> into_linear(const Architecture& a, size_t i, int64_t layer) {
  if (i == kNone || a.block[i].kind != OpKind::linear || readers_of(a.block, i) != 1) return std::nullopt;
  const Op& op = a.block[i];
  return Fold{.site = a.checkpoint_name(op.role, layer),
              .bias = op.bias ? a.checkpoint_name(op.role, layer, ".bias") : "",
              .channels = a.axis(op.out)};
}

}  // namespace

std::optional<Fold> fold_before(const Architecture& a, const Site& site) {
  const std::vector<Op>& ops = a.block;
  const auto at = static_cast<size_t>(
      std::find_if(ops.begin(), ops.end(), [&](const Op& op) { return op.role == site.role; }) - ops.begin());
  if (at == ops.size()) return std::nullopt;
  const std::string& slot = ops[at].inputs[0];
  const size_t producer = writer_of(ops, slot, at);
  if (producer == kNone) return std::nullopt;
  const auto linears = std::count_if(ops.begin(), ops.end(), [&](const Op& op) {
    return op.kind == OpKind::linear && op.inputs[0] == slot &&
           writer_of(ops, slot, static_cast<size_t>(&op - ops.data())) == producer;
  });
  if (readers_of(ops, producer) != linears) return std::nullopt;

  const Op& op = ops[producer];
  std::optional<Fold> fold;
  if (op.kind == OpKind::norm) fold = Fold{.norm = a.checkpoint_name(op.role, site.layer), .channels = a.axis(op.out)};
  if (op.kind == OpKind::gate) fold = into_linear(a, writer_of(ops, op.inputs[1], producer), site.layer);
  if (op.kind == OpKind::attention) fold = into_linear(a, writer_of(ops, op.inputs[2], producer), site.layer);
  if (!fold) return std::nullopt;
  fold->source.resize(static_cast<size_t>(site.in));
  std::iota(fold->source.begin(), fold->source.end(), 0);
  if (op.kind == OpKind::attention)  // a key-value head serves several heads
    for (int64_t& c : fold->source) c = c / a.head_dim / (a.heads / a.kv_heads) * a.head_dim + c % a.head_dim;
  return fold;
}

}  // namespace kerf
