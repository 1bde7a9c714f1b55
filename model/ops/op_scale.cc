// Products with one number.
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

void scale_by(const OpCall& c, float factor, Rounding rounding) {
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) c.out[i] = c.in[0][i] * factor;
    elementwise().round(c.out + begin * width, (end - begin) * width, rounding);
  });
}

void forward(const OpCall& c) {
  const Scale& s = *c.op.as<Scale>();
  auto factor = static_cast<float>(s.by);
  if (s.round_factor) elementwise().round(&factor, 1, c.rounding.stream);
  scale_by(c, factor, c.rounding.stream);
}

void forward_ggml(const OpCall& c) { scale_by(c, static_cast<float>(c.op.as<Scale>()->by), Rounding::none); }

void backward(const OpCall& c, const OpGradient& g) {
  if (!g.d_in[0]) return;
  const auto factor = static_cast<float>(c.op.as<Scale>()->by);
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) g.d_in[0][i] += factor * g.d_out[i];
  });
}

FoldRule fold(const Op&) { return {FoldRule::Where::through_input, 0}; }

}  // namespace

const Operation& op_scale() {
  static const Operation operation{.name = "scale",
                                   .index = op_index<Scale>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .fold = fold,
                                   .may_overwrite_first_input = true};
  return operation;
}

}  // namespace kerf
