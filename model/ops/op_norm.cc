// Norms of whole rows, or of each head's part of them.
#include <cmath>

#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/ggml_attention.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

// f(x, out, n) for everything that is normalised by itself.
template <class F>
void for_normed(const OpCall& c, F&& f) {
  const Norm& norm = *c.op.as<Norm>();
  const Axis& axis = c.arch.axis(c.op.axis);
  const int64_t groups = norm.per_group ? axis.groups : 1, n = axis.size / groups;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * groups; i < end * groups; ++i) f(c.in[0] + i * n, c.out + i * n, n);
  });
}

// Sums in double, one by one.
void layer_norm(const float* x, const OpWeights& w, float* out, int64_t n, double eps) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i);
    const double normed = (static_cast<double>(x[i]) - mean) * scale * static_cast<double>(w.weight[k]);
    out[i] = static_cast<float>(normed + (w.bias.empty() ? 0.0 : static_cast<double>(w.bias[k])));
  }
}

void forward(const OpCall& c) {
  const Norm& norm = *c.op.as<Norm>();
  const Elementwise& ops = elementwise();
  const auto eps = static_cast<float>(norm.eps);
  const Rounding inside = norm.round_before_weight ? c.rounding.stream : Rounding::none;
  for_normed(c, [&](const float* x, float* out, int64_t n) {
    if (norm.kind == Norm::Kind::layer) {
      layer_norm(x, c.weights, out, n, norm.eps);
    } else {
      ops.rms_norm(x, c.weights.weight.data(), out, n, eps, inside);
      if (!c.weights.bias.empty()) ops.add(out, c.weights.bias.data(), n, inside);
    }
    if (norm.kind == Norm::Kind::layer || !norm.round_before_weight) ops.round(out, n, c.rounding.stream);
  });
}

void forward_ggml(const OpCall& c) {
  const Norm& norm = *c.op.as<Norm>();
  if (norm.kind != Norm::Kind::rms || norm.bias)
    fail(ErrorKind::unsupported, "kerf has no layer norm in llama.cpp's order of sums");
  const GgmlOps& ops = ggml_ops();
  const auto eps = static_cast<float>(norm.eps);
  for_normed(c, [&](const float* x, float* out, int64_t n) { ops.rms_norm(x, c.weights.weight.data(), out, n, eps); });
}

// A head's norm weight serves all heads: channels of one of them cannot be scaled alone.
FoldRule fold(const Op& op) {
  return {op.as<Norm>()->per_group ? FoldRule::Where::nowhere : FoldRule::Where::own_weight};
}

}  // namespace

const Operation& op_norm() {
  static const Operation operation{
      .name = "norm", .index = op_index<Norm>(), .forward = forward, .forward_ggml = forward_ggml, .fold = fold};
  return operation;
}

}  // namespace kerf
