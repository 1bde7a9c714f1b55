// The single-threaded dense product that matmul_nt and the packed products cut their work into.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"

namespace kerf {

/// y[t, r] (+)= sum over k of x[t, k] * w[r, k], laid out as in matmul_nt, on the calling thread alone. With
/// `accumulate` the sum is added to y, otherwise y is overwritten. `in` may be 0 (the sum is then 0).
void matmul_nt_on_this_thread(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
                              int64_t w_stride, float* y, int64_t y_stride, bool accumulate);

/// c[t, k] (+)= sum over r of a[t, r] * b[r, k], laid out as in add_product_nn, on the calling thread alone.
void matmul_nn_on_this_thread(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                              const float* b, int64_t b_stride, float* c, int64_t c_stride, bool accumulate);
/// c[i, j] += sum over t of a[t, i] * b[t, j], laid out as in add_product_tn, on the calling thread alone.
void add_product_tn_on_this_thread(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                                   const float* b, int64_t b_stride, float* c, int64_t c_stride);

/// Panels of one size (a multiple of 16), at least `wanted` and less than twice that, so that none is left narrow.
inline int64_t even_panel(int64_t n, int64_t wanted) {
  const int64_t panels = n / wanted > 1 ? n / wanted : 1;
  return ((n + panels - 1) / panels + 15) / 16 * 16;
}

/// Passes KERF_ISA on to oneDNN; must be called before any use of it.
void cap_onednn_isa();

/// OpenMP's thread count is a setting of the calling task; while one of these lives, oneDNN uses one thread.
class OneOpenMpThread {
 public:
  OneOpenMpThread();
  ~OneOpenMpThread();
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

/// At least n floats, aligned to 64 bytes, that belong to the calling thread until it asks again. Contents undefined.
float* thread_scratch(int64_t n);

/// body(i, height, j, width) for the panels of a [rows, cols] matrix on kerf's threads, each about `wanted` by
/// `wanted`; with `upper` those below the diagonal are left out.
template <class Body>
void for_panels(int64_t rows, int64_t cols, int64_t wanted, bool upper, Body&& body) {
  const int64_t height = even_panel(rows, wanted), width = even_panel(cols, wanted);
  const int64_t across = (cols + width - 1) / width;
  parallel_for((rows + height - 1) / height * across, [&](int64_t k) {
    const int64_t i = k / across * height, j = k % across * width;
    if (upper && j + width <= i) return;
    body(i, i + height < rows ? height : rows - i, j, j + width < cols ? width : cols - j);
  });
}

/// The columns of x [tokens, n] in dense panels [tokens, panel], one after the other. copy(from, rows, cols, stride,
/// to) copies one.
template <class T, class Copy>
void columns_in_panels(const float* x, int64_t tokens, int64_t n, int64_t stride, int64_t panel, std::vector<T>& to,
                       Copy&& copy) {
  to.resize(static_cast<size_t>(tokens * n));
  parallel_for((n + panel - 1) / panel, [&](int64_t i) {
    copy(x + i * panel, tokens, std::min(panel, n - i * panel), stride, to.data() + i * panel * tokens);
  });
}

}  // namespace kerf
