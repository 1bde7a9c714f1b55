// Soft caps: at * tanh(x / at).
#include <cmath>

#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

void forward(const OpCall& c) {
  const auto at = static_cast<float>(c.op.as<Cap>()->at);
  const int64_t width = c.width();
  const Rounding rounding = c.rounding.stream;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    float* out = c.out + begin * width;
    const int64_t n = (end - begin) * width;
    for (int64_t i = 0; i < n; ++i) out[i] = c.in[0][begin * width + i] / at;
    elementwise().round(out, n, rounding);
    for (int64_t i = 0; i < n; ++i) out[i] = std::tanh(out[i]);
    elementwise().round(out, n, rounding);
    for (int64_t i = 0; i < n; ++i) out[i] *= at;
    elementwise().round(out, n, rounding);
  });
}

void forward_ggml(const OpCall& c) {
  const auto at = static_cast<float>(c.op.as<Cap>()->at);
  const float inverse = 1.0F / at;
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) c.out[i] = std::tanh(c.in[0][i] * inverse) * at;
  });
}

// With y = at tanh(x / at): dy/dx = 1 - (y / at)^2.
void backward(const OpCall& c, const OpGradient& g) {
  if (!g.d_in[0]) return;
  const auto at = static_cast<float>(c.op.as<Cap>()->at);
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) {
      const float t = c.out[i] / at;
      g.d_in[0][i] += g.d_out[i] * (1 - t * t);
    }
  });
}

}  // namespace

const Operation& op_cap() {
  static const Operation operation{.name = "cap",
                                   .index = op_index<Cap>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .may_overwrite_first_input = true};
  return operation;
}

}  // namespace kerf
