// Finding the operation for an Op, and what needs no kind of its own.
#include "model/ops/op.h"

#include <algorithm>
#include <memory>

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

void Linear::apply_transposed(const float* dy, int64_t tokens, float* dx) const {
  // Rows of w become columns: dx = dy W is the product of dy with the rows of W's transpose, panel by panel.
  constexpr int64_t kPanel = 256;
  const int64_t most = std::min(kPanel, out);
  const auto rows = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(most * in));
  const auto columns = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(most * in));
  const auto part = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(tokens * in));
  std::fill_n(dx, tokens * in, 0.0F);
  for (int64_t begin = 0; begin < out; begin += kPanel) {
    const int64_t n = std::min(kPanel, out - begin);
    read_rows(begin, begin + n, rows.get());
    for (int64_t r = 0; r < n; ++r)
      for (int64_t k = 0; k < in; ++k) columns[static_cast<size_t>(k * n + r)] = rows[static_cast<size_t>(r * in + k)];
    matmul_nt(tokens, in, n, dy + begin, out, columns.get(), n, part.get(), in);
    for (int64_t i = 0; i < tokens * in; ++i) dx[i] += part[static_cast<size_t>(i)];
  }
}

}  // namespace kerf
