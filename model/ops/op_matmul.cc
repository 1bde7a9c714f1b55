// Products with a matrix, and its bias. Rounding of weights and activations inside of the product is the Linear's.
#include "kernels/elementwise/elementwise_choice.h"
#include "model/ops/op.h"
#include "model/ops/rows.h"

namespace kerf {
namespace {

void forward(const OpCall& c) {
  const Linear& matrix = *c.weights.linear;
  const Rounding rounding = c.rounding.stream;
  const Elementwise& ops = elementwise();
  matrix.apply(c.in[0], c.tokens(), 0, matrix.out, c.out, matrix.out);
  if (c.weights.bias.empty() && rounding == Rounding::none) return;
  for_rows(c.tokens(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = c.out + t * matrix.out;
      if (c.weights.bias.empty())
        ops.round(row, matrix.out, rounding);
      else
        ops.add(row, c.weights.bias.data(), matrix.out, rounding);
    }
  });
}

void backward(const OpCall& c, const OpGradient& g) {
  const Linear& matrix = *c.weights.linear;
  if (g.d_in[0]) matrix.add_transposed(g.d_out, c.tokens(), g.d_in[0]);
  if (g.d_linear) matrix.add_weight_gradient(g.d_out, c.in[0], c.tokens(), g.d_linear);
  if (g.d_bias)
    add_over_rows(c.tokens(), matrix.out, g.d_bias, [&](int64_t begin, int64_t end, float* sum) {
      for (int64_t t = begin; t < end; ++t)
        elementwise().add(sum, g.d_out + t * matrix.out, matrix.out, Rounding::none);
    });
}

double multiply_adds(const Architecture&, const Op& op, int64_t) {
  const std::vector<int64_t>& shape = op.as<MatMul>()->weight.shape;
  return static_cast<double>(shape[0]) * static_cast<double>(shape[1]);
}

FoldRule fold(const Op&) { return {FoldRule::Where::own_weight}; }

}  // namespace

const Operation& op_matmul() {
  static const Operation operation{.name = "matmul",
                                   .index = op_index<MatMul>(),
                                   .forward = forward,
                                   .forward_ggml = forward,
                                   .backward = backward,
                                   .multiply_adds = multiply_adds,
                                   .fold = fold};
  return operation;
}

}  // namespace kerf
