// The interpreter of lists of operations: each goes to its Operation (model/ops), over a whole batch before the next.
#include "model/run/block.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {
namespace {

std::vector<float> load_vector(WeightProvider& weights, const Param& p, int64_t layer) {
  const std::string name = weight_name(p, layer);
  std::vector<float> v = weights.vector(name);
  if (static_cast<int64_t>(v.size()) != p.shape[0])
    fail(ErrorKind::bad_input, "tensor {} has {} elements, not {}", name, v.size(), p.shape[0]);
  return v;
}

}  // namespace

BlockWeights load_ops(const Architecture& a, WeightProvider& weights, const Ops& ops, int64_t layer,
                      bool with_matrices) {
  BlockWeights b;
  for (const Op& op : ops) {
    BlockWeights::OfOp w;
    if (const Norm* n = op.as<Norm>()) {
      w.weight = load_vector(weights, n->weight, layer);
      if (n->bias) w.bias = load_vector(weights, *n->bias, layer);
    }
    if (const MatMul* m = op.as<MatMul>()) {
      b.sites.push_back(site_of(a, op, layer));
      if (with_matrices) w.linear = weights.linear(b.sites.back());
      if (m->bias) w.bias = load_vector(weights, *m->bias, layer);
    }
    b.ops.push_back(std::move(w));
  }
  return b;
}

BlockWeights load_block(const Architecture& a, WeightProvider& weights, int64_t layer, bool with_matrices) {
  return load_ops(a, weights, a.block(layer), layer, with_matrices);
}

void check_arithmetic(const Arithmetic& a) {
  if (a.order == SumOrder::ggml && (a.stream != Dtype::f32 || a.attention != Dtype::f32 || a.fused_attention))
    fail(ErrorKind::internal, "llama.cpp's order of sums goes with a float32 stream and its own attention only");
  if (a.ggml_attention.cache != KvCache::f16 && !a.ggml_attention.flash)
    fail(ErrorKind::internal, "without flash attention there is a key/value cache in F16 only");
}

OpRunner::OpRunner(const Architecture& a, const Ops& ops, const Arithmetic& arithmetic, int64_t length)
    : arch_(a),
      ops_(ops),
      ggml_(arithmetic.order == SumOrder::ggml),
      rounding_{.stream = rounding_of(arithmetic.stream),
                .attention = rounding_of(arithmetic.attention),
                .fused_attention = arithmetic.fused_attention,
                .ggml_attention = arithmetic.ggml_attention},
      length_(length) {
  const auto none = std::make_shared<const std::vector<float>>();
  for (size_t i = 0; i < ops.size(); ++i) {
    const Operation& o = operation(ops[i]);
    tables_.push_back(none);
    if (!o.table) continue;
    const auto same = [&](const Op& other) {
      return other.what.index() == o.index && o.alike && o.alike(other, ops[i]);
    };
    const auto earlier = std::find_if(ops.begin(), ops.begin() + static_cast<std::ptrdiff_t>(i), same) - ops.begin();
    if (static_cast<size_t>(earlier) < i)
      tables_[i] = tables_[static_cast<size_t>(earlier)];
    else
      tables_[i] = std::make_shared<const std::vector<float>>(o.table(ops[i], length, rounding_.stream, ggml_));
  }
}

void OpRunner::apply(size_t i, const BlockWeights::OfOp& w, int64_t windows, std::span<const float* const> in,
                     float* out, int64_t columns) const {
  const Operation& o = operation(ops_[i]);
  const Operation::Forward forward = ggml_ ? o.forward_ggml : o.forward;
  if (!forward) fail(ErrorKind::unsupported, "llama.cpp's order of sums has no operation {}", o.name);
  forward(call(i, w, windows, in, out, columns));
}

void OpRunner::backward(size_t i, const BlockWeights::OfOp& w, int64_t windows, std::span<const float* const> in,
                        float* out, const OpGradient& gradient) const {
  operation(ops_[i]).backward(call(i, w, windows, in, out, 0), gradient);
}

OpCall OpRunner::call(size_t i, const BlockWeights::OfOp& w, int64_t windows, std::span<const float* const> in,
                      float* out, int64_t columns) const {
  return {.arch = arch_,
          .op = ops_[i],
          .weights = {.linear = w.linear.get(), .weight = w.weight, .bias = w.bias, .table = *tables_[i]},
          .rounding = rounding_,
          .windows = windows,
          .length = length_,
          .in = in,
          .out = out,
          .columns = columns};
}

void OpRunner::run(const Schedule& schedule, const BlockWeights& weights, size_t begin, size_t end, int64_t windows,
                   const std::function<float*(int)>& buffer, const Observer& observer) const {
  constexpr size_t kMostInputs = 4;
  size_t matrix = 0;
  for (size_t i = 0; i < begin; ++i) matrix += ops_[i].as<MatMul>() != nullptr;
  for (size_t i = begin; i < end; ++i) {
    const Step& step = schedule.steps[i];
    std::array<const float*, kMostInputs> in{};
    for (size_t k = 0; k < step.inputs.size(); ++k) in.at(k) = buffer(step.inputs[k]);
    float* out = buffer(step.output);
    apply(i, weights.ops[i], windows, std::span(in).first(step.inputs.size()), out);
    if (!ops_[i].as<MatMul>()) continue;
    if (observer) observer(matrix, in[0], windows * length_, out);
    ++matrix;
  }
}

void OpRunner::run(const BlockWeights& weights, int64_t windows, float* x, const Observer& observer) const {
  const Schedule plan = schedule(arch_, ops_, true);
  std::vector<std::unique_ptr<float[]>> buffers;
  for (const Slot& slot : plan.slots)
    buffers.push_back(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(windows * length_ * slot.width)));
  run(
      plan, weights, 0, ops_.size(), windows,
      [&](int i) { return i == kHidden ? x : buffers[static_cast<size_t>(i)].get(); }, observer);
}

void block_forward(const Architecture& a, int64_t layer, const BlockWeights& weights, const Arithmetic& arithmetic,
                   int64_t windows, int64_t length, float* x) {
  check_arithmetic(arithmetic);
  OpRunner(a, a.block(layer), arithmetic, length).run(weights, windows, x);
}

}  // namespace kerf
