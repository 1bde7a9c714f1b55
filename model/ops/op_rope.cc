// Rotary positions: pairs of each head are turned by an angle that grows with the position.
#include <algorithm>
#include <cmath>

#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/ggml_attention.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

// Cosines of all positions, then sines: [length, rotated / 2] each.
std::vector<float> table(const Op& op, int64_t length, Rounding rounding, bool ggml) {
  const Rope& rope = *op.as<Rope>();
  std::vector<float> cosines, sines;
  if (ggml) {
    ggml_rope_tables(rope, length, cosines, sines);
  } else {
    const auto magnitude = static_cast<float>(rope.table.attention_factor);
    const std::vector<float> frequencies = rope.frequencies();
    for (int64_t t = 0; t < length; ++t)
      for (const float f : frequencies) {
        const float angle = static_cast<float>(t) * f;
        cosines.push_back(std::cos(angle) * magnitude);
        sines.push_back(std::sin(angle) * magnitude);
      }
    elementwise().round(cosines.data(), static_cast<int64_t>(cosines.size()), rounding);
    elementwise().round(sines.data(), static_cast<int64_t>(sines.size()), rounding);
  }
  cosines.insert(cosines.end(), sines.begin(), sines.end());
  return cosines;
}

bool alike(const Op& a, const Op& b) {
  const Rope &x = *a.as<Rope>(), &y = *b.as<Rope>();
  return x.rotated == y.rotated && x.table == y.table;
}

// rotate(x, heads, half, cosines, sines) turns whole heads.
template <class Rotate>
void forward_with(const OpCall& c, Rotate&& rotate) {
  const Axis& axis = c.arch.axis(c.op.axis);
  const int64_t width = axis.size, head = axis.group_size(), half = c.op.as<Rope>()->rotated / 2;
  const float *cosines = c.weights.table.data(), *sines = cosines + c.weights.table.size() / 2;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    if (c.in[0] != c.out) std::copy_n(c.in[0] + begin * width, (end - begin) * width, c.out + begin * width);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t at = t % c.length * half;
      float* x = c.out + t * width;
      if (2 * half == head)
        rotate(x, axis.groups, half, cosines + at, sines + at);
      else
        for (int64_t h = 0; h < axis.groups; ++h) rotate(x + h * head, 1, half, cosines + at, sines + at);
    }
  });
}

void forward(const OpCall& c) {
  const Elementwise& ops = elementwise();
  forward_with(c, [&](float* x, int64_t heads, int64_t half, const float* cosines, const float* sines) {
    ops.rotate(x, heads, half, cosines, sines, c.rounding.stream);
  });
}

void forward_ggml(const OpCall& c) { forward_with(c, ggml_ops().rotate); }

// Turned back: by the same angles with the other sign.
void backward(const OpCall& c, const OpGradient& g) {
  if (!g.d_in[0]) return;
  const int64_t width = c.width();
  std::vector<float> turned(static_cast<size_t>(c.tokens() * width)), table(c.weights.table.size());
  for (size_t i = 0; i < table.size(); ++i) table[i] = i < table.size() / 2 ? c.weights.table[i] : -c.weights.table[i];
  const float* d_out[] = {g.d_out};
  OpCall back = c;
  back.weights.table = table;
  back.rounding = {};
  back.in = d_out;
  back.out = turned.data();
  forward(back);
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    elementwise().add(g.d_in[0] + begin * width, turned.data() + begin * width, (end - begin) * width, Rounding::none);
  });
}

}  // namespace

const Operation& op_rope() {
  static const Operation operation{.name = "rope",
                                   .index = op_index<Rope>(),
                                   .forward = forward,
                                   .forward_ggml = forward_ggml,
                                   .backward = backward,
                                   .table = table,
                                   .alike = alike};
  return operation;
}

}  // namespace kerf
