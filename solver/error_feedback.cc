// Columns are taken in blocks of about 128: what earlier blocks feed into a block is one product, and inside of the
// block group after group is subtracted from what follows (the lazy batches of GPTQ, looking left instead of right).
#include "solver/error_feedback.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "kernels/dense/dense_panel.h"

namespace kerf {
namespace {

constexpr int64_t kBlock = 128;
constexpr int64_t kTogether = 16;

// columns[k][r] = rows[r * stride + k], and back.
void to_panel(const float* rows, int64_t stride, int64_t count, int64_t columns, PanelColumns& out) {
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t r = 0; r < count; ++r) out.column(k)[r] = rows[r * stride + k];
}
void from_panel(const PanelColumns& in, int64_t count, int64_t columns, float* rows, int64_t stride) {
  for (int64_t r = 0; r < count; ++r)
    for (int64_t k = 0; k < columns; ++k) rows[r * stride + k] = in.column(k)[r];
}

// UT U = the inverse that U comes from; symmetric.
std::vector<float> gram(const std::vector<float>& u, int64_t n) {
  std::vector<float> m(u.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k <= i; ++k)
        sum += static_cast<double>(u[static_cast<size_t>(k * n + i)]) *
               static_cast<double>(u[static_cast<size_t>(k * n + j)]);
      m[static_cast<size_t>(i * n + j)] = m[static_cast<size_t>(j * n + i)] = static_cast<float>(sum);
    }
  return m;
}

std::vector<float> negative(std::vector<float> v) {
  for (float& x : v) x = -x;
  return v;
}

std::vector<int64_t> as_stored(int64_t n) {
  std::vector<int64_t> columns(static_cast<size_t>(n));
  std::iota(columns.begin(), columns.end(), 0);
  return columns;
}

void append_parts(const Hessian& h, int64_t begin, int64_t end, std::span<const int64_t> sizes,
                  std::vector<int64_t>& order) {
  const int64_t size = sizes.empty() ? end - begin + 1 : sizes[0];
  std::vector<std::pair<double, int64_t>> parts;  // least first: -sum, first column
  for (; begin + size <= end; begin += size) {
    parts.emplace_back(0.0, begin);
    for (int64_t k = begin; k < begin + size; ++k) parts.back().first -= static_cast<double>(h.diagonal(k));
  }
  std::sort(parts.begin(), parts.end());
  for (const auto& [sum, first] : parts) append_parts(h, first, first + size, sizes.subspan(1), order);
  for (; begin < end; ++begin) order.push_back(begin);
}

}  // namespace

std::vector<int64_t> falling_order(const Hessian& h, std::span<const int64_t> sizes) {
  std::vector<int64_t> order;
  append_parts(h, 0, h.n, sizes, order);
  return order;
}

ErrorFeedback::ErrorFeedback(const Hessian& h, double relative, int64_t group, int64_t outer, bool refine,
                             std::vector<int64_t> order)
    : h_(h),
      group_(group),
      block_(std::max<int64_t>(kBlock / outer, 1) * outer),
      stored_(as_stored(h.n)),
      order_(order.empty() ? stored_ : std::move(order)),
      factor_(factorize(h, relative, order_)) {
  block_u_.resize(static_cast<size_t>(ceil_div(h.n, block_)));
  parallel_for(static_cast<int64_t>(block_u_.size()), [&](int64_t b) {
    block_u_[static_cast<size_t>(b)] = inverse_block(factor_, block_begin(b), block_size(b));
  });
  if (!refine) return;
  group_u_.resize(static_cast<size_t>(ceil_div(h.n, group_)));
  group_inverse_.resize(group_u_.size());
  parallel_for(static_cast<int64_t>(group_u_.size()), [&](int64_t i) {
    const int64_t begin = i * group_, size = std::min(group_, h.n - begin);
    auto& u = group_u_[static_cast<size_t>(i)];
    u = inverse_block(h, factor_.damping, begin, size);
    // Negative, because it is added by subtracting.
    group_inverse_[static_cast<size_t>(i)] = negative(gram(u, size));
  });
}

PanelColumns::PanelColumns(int64_t columns)
    : data_(static_cast<float*>(
          ::operator new[](static_cast<size_t>(columns* kRowsPerPanel) * sizeof(float), std::align_val_t{64}))) {
  std::fill_n(data_.get(), columns * kRowsPerPanel, 0.0f);
}

void PanelColumns::Free::operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }

PanelPass::PanelPass(const ErrorFeedback& of, std::span<const float> w, int64_t rows)
    : of_(of),
      rows_(rows),
      w_(w.size()),
      e_(w.size()),
      target_(of.block_),
      sums_(of.block_),
      q_(of.block_),
      f_(of.block_) {
  const int64_t n = of.h_.n;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < n; ++k)
      w_[static_cast<size_t>(r * n + k)] = w[static_cast<size_t>(r * n + of.order_[static_cast<size_t>(k)])];
}

void PanelPass::begin_block(int64_t block) {
  block_ = block;
  const int64_t n = of_.h_.n, begin = of_.block_begin(block), size = of_.block_size(block);
  to_panel(w_.data() + begin, n, rows_, size, target_);
  if (begin == 0) return;
  // The best real columns given the errors so far are w + (E L[block, earlier]T) U.
  std::vector<float> product(static_cast<size_t>(rows_ * size));
  matmul_nt_on_this_thread(rows_, size, begin, e_.data(), n, of_.factor_.row(begin), n, product.data(), size, false);
  for (float& x : product) x = -x;
  to_panel(product.data(), size, rows_, size, sums_);
  // U is zero below its diagonal, so terms can be taken several at a time.
  const float* u = of_.block_u(block);
  for (int64_t k = 0; k < size; k += kTogether)
    feedback().subtract(target_.column(k), size - k, sums_.column(k), std::min(kTogether, size - k), u + k * size + k,
                        size);
}

void PanelPass::choose_block(const ChooseColumns& choose) {
  static const std::vector<float> infinite(kRowsPerPanel, std::numeric_limits<float>::infinity());
  const int64_t n = of_.h_.n, begin = of_.block_begin(block_), size = of_.block_size(block_);
  const float* u = of_.block_u(block_);
  for (int64_t at = 0; at < size; at += of_.group_) {
    const int64_t count = std::min(of_.group_, size - at), end = at + count;
    choose({.begin = begin + at,
            .size = count,
            .ahead = size - at,
            .columns = of_.order_.data() + begin + at,
            .target = target_.column(at),
            .u = u + at * size + at,
            .stride = size,
            .best = infinite.data(),
            .q = q_.column(at),
            .f = f_.column(at)});
    feedback().subtract(target_.column(end), size - end, f_.column(at), count, u + at * size + end, size);
  }
  from_panel(q_, rows_, size, e_.data() + begin, n);
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t k = begin; k < begin + size; ++k) {
      float& x = e_[static_cast<size_t>(r * n + k)];
      x = w_[static_cast<size_t>(r * n + k)] - x;
    }
}

void PanelPass::errors(std::span<float> e) const {
  const int64_t n = of_.h_.n;
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t k = 0; k < n; ++k)
      e[static_cast<size_t>(r * n + of_.order_[static_cast<size_t>(k)])] = e_[static_cast<size_t>(r * n + k)];
}

void ErrorFeedback::choose(std::span<const float> w, int64_t rows, std::span<float> e,
                           const ChooseColumns& choose) const {
  PanelPass pass(*this, w, rows);
  for (int64_t block = 0; block < blocks(); ++block) {
    pass.begin_block(block);
    pass.choose_block(choose);
  }
  pass.errors(e);
}

void ErrorFeedback::refine(std::span<const float> w, int64_t rows, std::span<float> e,
                           const ChooseColumns& choose) const {
  const int64_t n = h_.n;
  const Feedback& kernel = feedback();
  PanelColumns slope(block_), target(group_), q(group_), before(group_), f(group_), best(1);
  std::vector<float> product(static_cast<size_t>(rows * block_)), values(static_cast<size_t>(rows * group_));
  const auto damping = static_cast<float>(factor_.damping);
  for (int64_t begin = 0; begin < n; begin += block_) {
    const int64_t size = block_size(begin / block_);
    // Half of the objective's slope, E (H + damping I), in the block's columns.
    matmul_nt_on_this_thread(rows, size, n, e.data(), n, h_.row(begin), n, product.data(), size, false);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < size; ++k)
        product[static_cast<size_t>(r * size + k)] += damping * e[static_cast<size_t>(r * n + begin + k)];
    to_panel(product.data(), size, rows, size, slope);
    for (int64_t at = 0; at < size; at += group_) {
      const int64_t count = std::min(group_, size - at), end = at + count, first = begin + at;
      const auto number = static_cast<size_t>(first / group_);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < count; ++k) {
          const auto i = static_cast<size_t>(r * n + first + k);
          values[static_cast<size_t>(r * count + k)] = w[i] - e[i];
        }
      to_panel(values.data(), count, rows, count, q);
      std::copy_n(q.column(0), count * kRowsPerPanel, before.column(0));
      // The group's best real values are q + slope * inverse(H[group, group]); the present ones lose slope * that step.
      std::fill_n(target.column(0), count * kRowsPerPanel, 0.0f);
      kernel.subtract(target.column(0), count, slope.column(at), count, group_inverse_[number].data(), count);
      std::fill_n(best.column(0), kRowsPerPanel, 0.0f);
      for (int64_t k = 0; k < count; ++k)
        for (int64_t r = 0; r < kRowsPerPanel; ++r) {
          best.column(0)[r] += target.column(k)[r] * slope.column(at + k)[r];
          target.column(k)[r] += q.column(k)[r];
        }
      choose({.begin = first,
              .size = count,
              .ahead = count,
              .columns = stored_.data() + first,
              .target = target.column(0),
              .u = group_u_[number].data(),
              .stride = count,
              .h = h_.row(first) + first,
              .h_stride = n,
              .damping = damping,
              .best = best.column(0),
              .q = q.column(0),
              .f = f.column(0)});
      for (int64_t k = 0; k < count; ++k)
        for (int64_t r = 0; r < kRowsPerPanel; ++r) before.column(k)[r] = q.column(k)[r] - before.column(k)[r];
      // E changes by -(q - before): the slope of what follows in the block goes with it.
      kernel.subtract(slope.column(end), size - end, before.column(0), count, h_.row(first) + begin + end, n);
      from_panel(q, rows, count, values.data(), count);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < count; ++k) {
          const auto i = static_cast<size_t>(r * n + first + k);
          e[i] = w[i] - values[static_cast<size_t>(r * count + k)];
        }
    }
  }
}

}  // namespace kerf
