#include "model/run/fast_linear.h"

#include <algorithm>

#include "core/checked.h"
#include "core/dtype.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"

namespace kerf {
namespace {

std::vector<uint16_t> rounded(const float* x, int64_t rows, int64_t cols) {
  constexpr int64_t kRowsPerTask = 64;
  std::vector<uint16_t> out(static_cast<size_t>(rows * cols));
  parallel_for(ceil_div(rows, kRowsPerTask), [&](int64_t task) {
    const int64_t begin = task * kRowsPerTask * cols, n = std::min(kRowsPerTask * cols, rows * cols - begin);
    from_f32(Dtype::bf16, std::span(x + begin, static_cast<size_t>(n)),
             std::as_writable_bytes(std::span(out).subspan(static_cast<size_t>(begin), static_cast<size_t>(n))));
  });
  return out;
}

class Bf16Linear final : public Linear {
 public:
  Bf16Linear(const std::vector<float>& w, int64_t rows, int64_t cols)
      : Linear(rows, cols), w_(rounded(w.data(), rows, cols)) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    matmul_nt_bf16(tokens, row_end - row_begin, in, x, in, w_.data() + row_begin * in, y, y_stride);
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    for (int64_t i = row_begin * in; i < row_end * in; ++i)
      to[i - row_begin * in] = bf16_to_f32(w_[static_cast<size_t>(i)]);
  }
  void add_transposed(const float* dy, int64_t tokens, float* dx) const override {
    add_product_nn_bf16(tokens, out, in, dy, out, w_.data(), dx, in);
  }
  void add_weight_gradient(const float* dy, const float* x, int64_t tokens, float* dw) const override {
    add_product_tn_bf16(tokens, out, in, dy, out, x, in, dw, false);
  }

 private:
  std::vector<uint16_t> w_;
};

class FloatLinear final : public Linear {
 public:
  FloatLinear(std::vector<float> w, int64_t rows, int64_t cols) : Linear(rows, cols), w_(std::move(w)) {}
  void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
             int64_t y_stride) const override {
    matmul_nt(tokens, row_end - row_begin, in, x, in, w_.data() + row_begin * in, in, y, y_stride);
  }
  void read_rows(int64_t row_begin, int64_t row_end, float* to) const override {
    std::copy_n(w_.data() + row_begin * in, (row_end - row_begin) * in, to);
  }
  void add_transposed(const float* dy, int64_t tokens, float* dx) const override {
    add_product_nn(tokens, out, in, dy, out, w_.data(), in, dx, in);
  }

 private:
  std::vector<float> w_;
};

}  // namespace

std::unique_ptr<Linear> fast_linear(std::vector<float> w, int64_t out, int64_t in) {
  if (fast_bf16()) return std::make_unique<Bf16Linear>(w, out, in);
  return float_linear(std::move(w), out, in);
}

std::unique_ptr<Linear> float_linear(std::vector<float> w, int64_t out, int64_t in) {
  return std::make_unique<FloatLinear>(std::move(w), out, in);
}

BlockWeights load_fast_ops(const Architecture& a, WeightProvider& weights, const TensorSource& source, const Ops& ops,
                           int64_t layer) {
  BlockWeights w = load_ops(a, weights, ops, layer, false);
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].as<MatMul>()) continue;
    const Site site = layer < 0 ? a.head() : site_of(a, ops[i], layer);
    w.ops[i].linear = fast_linear(read_vector(source, site.name), site.out, site.in);
  }
  return w;
}

Arithmetic fast_arithmetic() { return {.attention = fast_bf16() ? Dtype::bf16 : Dtype::f32}; }

}  // namespace kerf
