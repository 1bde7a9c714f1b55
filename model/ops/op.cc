// Finding the operation for an Op, and what needs no kind of its own.
#include "model/ops/op.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/dense/dense.h"

namespace kerf {

const Operation& operation(const Op& op) {
  for (const Operation* o : all_ops())
    if (o->index == op.what.index()) return *o;
  fail(ErrorKind::internal, "nothing computes operation {}", op.what.index());
}

double block_multiply_adds(const Architecture& a, int64_t layer, int64_t length) {
  double sum = 0;
  for (const Op& op : a.block(layer))
    if (const auto count = operation(op).multiply_adds) sum += count(a, op, length);
  return sum;
}

void Linear::add_transposed(const float* dy, int64_t tokens, float* dx) const {
  constexpr int64_t kPanel = 256;
  std::vector<float> rows(static_cast<size_t>(std::min(kPanel, out) * in));
  for (int64_t begin = 0; begin < out; begin += kPanel) {
    const int64_t n = std::min(kPanel, out - begin);
    read_rows(begin, begin + n, rows.data());
    add_product_nn(tokens, n, in, dy + begin, out, rows.data(), in, dx, in);
  }
}

void Linear::add_weight_gradient(const float* dy, const float* x, int64_t tokens, float* dw) const {
  add_product_tn(tokens, out, in, dy, out, x, in, dw, false);
}

}  // namespace kerf
