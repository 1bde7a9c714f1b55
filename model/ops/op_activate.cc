// Activation functions, times a second input where there is one.
#include <array>
#include <cmath>

#include "core/dtype.h"
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/ggml_attention.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

constexpr float kSqrt2OverPi = 0.7978845608028654F, kCubic = 0.044715F;

// e[i] = e^-z of the z below.
void exponentials(Activation f, const float* x, float* e, int64_t n, const Elementwise& ops) {
  for (int64_t i = 0; i < n; ++i)
    e[i] = f == Activation::silu ? -x[i] : -2 * kSqrt2OverPi * (x[i] + kCubic * x[i] * x[i] * x[i]);
  ops.exp(e, e, n);
}

// out[i] = round(f(x[i])) (* up[i], rounded). With u = sqrt(2/pi) (x + 0.044715 x^3) tanh-GELU, x/2 (1 + tanh u), is
// x / (1 + e^-2u); SiLU is x / (1 + e^-x).
void activate(Activation f, const float* x, const float* up, float* out, int64_t n, Rounding rounding,
              const Elementwise& ops) {
  constexpr int64_t kPart = 256;
  float e[kPart], value[kPart];
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t m = std::min(kPart, n - begin);
    exponentials(f, x + begin, e, m, ops);
    for (int64_t i = 0; i < m; ++i) value[i] = x[begin + i] / (1 + e[i]);
    ops.round(value, m, rounding);
    for (int64_t i = 0; i < m; ++i) out[begin + i] = up ? value[i] * up[begin + i] : value[i];
    if (up) ops.round(out + begin, m, rounding);
  }
}

// llama.cpp's table: float16 to float16 (ggml-cpu, ggml_vec_geglu_f32), the sum inside contracted as GCC does it there.
const float* ggml_gelu_table() {
  static const auto table = [] {
    std::vector<float> t(1 << 16);
    for (uint32_t h = 0; h < t.size(); ++h) {
      const float x = f16_to_f32(static_cast<uint16_t>(h));
      const float gelu = 0.5F * x * (1.0F + std::tanh(kSqrt2OverPi * x * std::fma(kCubic * x, x, 1.0F)));
      t[h] = f16_to_f32(f32_to_f16(gelu));
    }
    return t;
  }();
  return table.data();
}

void ggml_gelu_gate(const float* x, const float* up, float* out, int64_t n) {
  const float* table = ggml_gelu_table();
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] <= -10.0F)
      out[i] = 0;
    else if (x[i] >= 10.0F)
      out[i] = x[i] * up[i];
    else
      out[i] = table[f32_to_f16(x[i])] * up[i];
  }
}

// f(x, up, out, n) over tasks; `up` is nullptr without a second input.
template <class F>
void for_parts(const OpCall& c, F&& f) {
  const int64_t width = c.width();
  const float* up = c.in.size() > 1 ? c.in[1] : nullptr;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * width;
    f(c.in[0] + at, up ? up + at : nullptr, c.out + at, (end - begin) * width);
  });
}

void forward(const OpCall& c) {
  const Elementwise& ops = elementwise();
  const Activation f = c.op.as<Activate>()->f;
  for_parts(c, [&](const float* x, const float* up, float* out, int64_t n) {
    if (f == Activation::silu && up)
      ops.silu_gate(x, up, out, n, c.rounding.stream);
    else
      activate(f, x, up, out, n, c.rounding.stream, ops);
  });
}

void forward_ggml(const OpCall& c) {
  if (c.in.size() < 2)
    fail(ErrorKind::unsupported, "kerf has no activation without a gate in llama.cpp's order of sums");
  const auto gate = c.op.as<Activate>()->f == Activation::silu ? ggml_ops().silu_gate : ggml_gelu_gate;
  for_parts(c, gate);
}

// With f(x) = x s(z), s the logistic function, z = x (SiLU) or 2 sqrt(2/pi) (x + 0.044715 x^3) (tanh-GELU):
// f'(x) = s + x s (1 - s) z'.
void add_gradient(Activation f, const float* x, const float* up, const float* d_out, float* d_x, float* d_up, int64_t n,
                  const Elementwise& ops) {
  constexpr int64_t kPart = 256;
  float e[kPart];
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t m = std::min(kPart, n - begin);
    const bool silu = f == Activation::silu;
    exponentials(f, x + begin, e, m, ops);
    for (int64_t i = 0; i < m; ++i) {
      const int64_t k = begin + i;
      const float v = x[k], s = 1 / (1 + e[i]), slope = silu ? 1 : 2 * kSqrt2OverPi * (1 + 3 * kCubic * v * v);
      if (d_up) d_up[k] += d_out[k] * v * s;
      if (d_x) d_x[k] += d_out[k] * (up ? up[k] : 1) * (s + v * s * (1 - s) * slope);
    }
  }
}

void backward(const OpCall& c, const OpGradient& g) {
  const int64_t width = c.width();
  const bool gated = c.in.size() > 1;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * width;
    add_gradient(c.op.as<Activate>()->f, c.in[0] + at, gated ? c.in[1] + at : nullptr, g.d_out + at,
                 g.d_in[0] ? g.d_in[0] + at : nullptr, gated && g.d_in[1] ? g.d_in[1] + at : nullptr,
                 (end - begin) * width, elementwise());
  });
}

// The second input only multiplies; the first goes through a curve.
FoldRule fold(const Op& op) { return op.inputs.size() > 1 ? FoldRule{FoldRule::Where::through_input, 1} : FoldRule{}; }

}  // namespace

const Operation& op_activate() {
  static const Operation operation{.name = "activate",
                                   .index = op_index<Activate>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .fold = fold,
                                   .may_overwrite_first_input = true};
  return operation;
}

}  // namespace kerf
