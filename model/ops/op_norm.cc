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

// Of what is normalised: (x - mean) scale. Sums in double, one by one.
struct Moments {
  double mean, scale;
};
Moments moments_of(const Norm& norm, const float* x, int64_t n) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n && norm.kind == Norm::Kind::layer; ++i) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<double>(n) + norm.eps)};
}

void layer_norm(const Norm& norm, const float* x, const OpWeights& w, float* out, int64_t n) {
  const auto [mean, scale] = moments_of(norm, x, n);
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
      layer_norm(norm, x, c.weights, out, n);
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

// Of y = w (x - m) r + b, with r = (mean((x - m)^2) + eps)^-1/2 and m the mean of x (layer) or 0 (rms). With g = w dy,
// h = (x - m) r: dx = r (g - h mean(g h) - mean(g) of a layer norm), dw += dy h, db += dy. Sums in double.
void backward_of_one(const Norm& norm, const float* x, std::span<const float> weight, const float* d_out, float* d_in,
                     float* d_weight, float* d_bias) {
  const auto n = std::ssize(weight);
  const auto [mean, scale] = moments_of(norm, x, n);
  double along = 0, level = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(weight[static_cast<size_t>(i)]) * static_cast<double>(d_out[i]);
    along += g * (static_cast<double>(x[i]) - mean) * scale;
    level += g;
  }
  along /= static_cast<double>(n);
  level = norm.kind == Norm::Kind::layer ? level / static_cast<double>(n) : 0;
  for (int64_t i = 0; i < n; ++i) {
    const double h = (static_cast<double>(x[i]) - mean) * scale,
                 g = static_cast<double>(weight[static_cast<size_t>(i)]) * static_cast<double>(d_out[i]);
    if (d_in) d_in[i] += static_cast<float>(scale * (g - h * along - level));
    if (d_weight) d_weight[i] += static_cast<float>(static_cast<double>(d_out[i]) * h);
    if (d_bias) d_bias[i] += d_out[i];
  }
}

void backward(const OpCall& c, const OpGradient& g) {
  const Norm& norm = *c.op.as<Norm>();
  const Axis& axis = c.arch.axis(c.op.axis);
  const int64_t groups = norm.per_group ? axis.groups : 1, n = axis.size / groups;
  std::vector<float> sums(static_cast<size_t>(2 * n));  // of weight and bias
  add_over_rows(c.tokens(), 2 * n, sums.data(), [&](int64_t begin, int64_t end, float* sum) {
    for (int64_t i = begin * groups; i < end * groups; ++i)
      backward_of_one(norm, c.in[0] + i * n, c.weights.weight, g.d_out + i * n, g.d_in[0] ? g.d_in[0] + i * n : nullptr,
                      g.d_weight ? sum : nullptr, g.d_bias ? sum + n : nullptr);
  });
  for (int64_t i = 0; i < n; ++i) {
    if (g.d_weight) g.d_weight[i] += sums[static_cast<size_t>(i)];
    if (g.d_bias) g.d_bias[i] += sums[static_cast<size_t>(n + i)];
  }
}

// A head's norm weight serves all heads: channels of one of them cannot be scaled alone.
FoldRule fold(const Op& op) {
  return {op.as<Norm>()->per_group ? FoldRule::Where::nowhere : FoldRule::Where::own_weight};
}

}  // namespace

const Operation& op_norm() {
  static const Operation operation{.name = "norm",
                                   .index = op_index<Norm>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .fold = fold};
  return operation;
}

}  // namespace kerf
