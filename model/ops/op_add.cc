// Sums of two activations: the residual stream.
#include <algorithm>

#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

void forward(const OpCall& c) {
  const Elementwise& ops = elementwise();
  const int64_t width = c.width();
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * width, n = (end - begin) * width;
    if (c.in[0] != c.out) std::copy_n(c.in[0] + at, n, c.out + at);
    ops.add(c.out + at, c.in[1] + at, n, c.rounding.stream);
  });
}

void backward(const OpCall& c, const OpGradient& g) {
  const int64_t width = c.width();
  for (float* d_in : g.d_in)
    if (d_in)
      for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * width;
        elementwise().add(d_in + at, g.d_out + at, (end - begin) * width, Rounding::none);
      });
}

}  // namespace

const Operation& op_add() {
  static const Operation operation{
      .name = "add", .index = op_index<Add>(), .forward = forward, .forward_ggml = forward, .backward = backward};
  return operation;
}

}  // namespace kerf
