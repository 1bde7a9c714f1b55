// Attention of query heads over the keys and values before them.
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/attention.h"
#include "model/ops/ggml_attention.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

AttentionShape shape_of(const OpCall& c) {
  const Attend& attend = *c.op.as<Attend>();
  const Axis &heads = c.arch.axis(c.op.axis), &kv = c.arch.axis(attend.kv);
  return {.windows = c.windows,
          .length = c.length,
          .heads = heads.groups,
          .kv_heads = kv.groups,
          .head_dim = heads.group_size(),
          .scale = static_cast<float>(attend.scale),
          .window = attend.window,
          .softcap = static_cast<float>(attend.softcap),
          .fused = c.rounding.fused_attention,
          .rounding = c.rounding.attention};
}

void forward(const OpCall& c) {
  causal_attention(shape_of(c), c.in[0], c.in[1], c.in[2], c.out);
  const Rounding rounding = c.rounding.stream;
  if (rounding == Rounding::none) return;
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    elementwise().round(c.out + begin * width, (end - begin) * width, rounding);
  });
}

void forward_ggml(const OpCall& c) {
  const Attend& attend = *c.op.as<Attend>();
  if (attend.softcap != 0)
    fail(ErrorKind::unsupported, "kerf has no capped attention scores in llama.cpp's order of sums");
  ggml_causal_attention(c.rounding.ggml_attention, shape_of(c), attend.ggml_interleaved, attend.ggml_scales_queries,
                        c.in[0], c.in[1], c.in[2], c.out);
}

void backward(const OpCall& c, const OpGradient& g) {
  AttentionShape shape = shape_of(c);
  shape.rounding = Rounding::none;
  causal_attention_backward(shape, c.in[0], c.in[1], c.in[2], c.out, g.d_out, {g.d_in[0], g.d_in[1], g.d_in[2]});
}

// Scores and sums over positions: a product with each key, a product with each probability.
double multiply_adds(const Architecture& a, const Op& op, int64_t length) {
  const int64_t window = op.as<Attend>()->window;
  const double seen = window > 0 && window < length ? static_cast<double>(window) : static_cast<double>(length) / 2;
  return 2 * seen * static_cast<double>(a.axis(op.axis).size);
}

// Averages of values: what scales a channel of all values scales it in every average.
FoldRule fold(const Op&) { return {FoldRule::Where::through_input, 2, true}; }

}  // namespace

const Operation& op_attend() {
  static const Operation operation{.name = "attend",
                                   .index = op_index<Attend>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .multiply_adds = multiply_adds,
                                   .fold = fold};
  return operation;
}

}  // namespace kerf
