// oneDNN's sgemm, one call per panel. oneDNN cuts a product differently for different numbers of threads, so every call
// runs on one thread and the parallelism lies between panels, whose sizes depend on the shape only.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "core/checked.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/dense_panel.h"

namespace kerf {
namespace {

// Panels of one call. oneDNN packs both operands anew in each, so panels must be large; 256 x 128 outputs reach 95 % of
// the rate of one large product on a Zen 4 core (256 x 256 the same, 256 x 64 only 70 %).
constexpr int64_t kTokenPanel = 256, kOutPanel = 128;
// Up to this many tokens oneDNN reads the weights without packing them, and narrow panels do no harm. Between 9 and 128
// tokens they do: 64 wide panels are three times slower than 128 wide ones.
constexpr int64_t kFewTokens = 8, kFewTokensOutPanel = 64;

// With AVX-512 oneDNN 2.6 multiplies up to 14 tokens without packing, at 40 GMAC/s on a Zen 4 core, and packs from 16
// on, which pays only for many: 16 tokens run at 18 GMAC/s, 96 at 40 (in = 2048). Between them, groups of up to 14 are
// faster, with the weights cut so that the second-level cache holds them from one group to the next. With AVX2 they are
// not: 64 tokens run at 53 GMAC/s in one piece and at 39 in groups.
constexpr int64_t kUnpackedTokens = 14, kManyTokens = 96, kUnpackedIn = 1024;

struct AlignedFree {
  void operator()(float* p) const { std::free(p); }
};

// Outputs of one panel of a transposed product; tokens are its long dimension. Operands are copied so that those of a
// panel lie densely: 55 GMAC/s on a Zen 4 core where strides of 1536 floats allow 38. Larger panels are no faster and
// compute more of what lies below the diagonal.
constexpr int64_t kSquarePanel = 96;

// c [m, n] = a [m, k] b [k, n] + keep * c, where 'T' says that an operand is stored the other way round.
void multiply_on_this_thread(char a_stored, char b_stored, int64_t m, int64_t n, int64_t k, const float* a,
                             int64_t a_stride, const float* b, int64_t b_stride, float keep, float* c,
                             int64_t c_stride) {
  cap_onednn_isa();
  const OneOpenMpThread one;
  const dnnl_status_t status =
      dnnl_sgemm(a_stored, b_stored, m, n, k, 1.0f, a, a_stride, b, b_stride, keep, c, c_stride);
  if (status != dnnl_success)
    fail(ErrorKind::internal, "oneDNN refused a product of {} x {} x {} (status {})", m, n, k,
         static_cast<int>(status));
}

void copy_rows(const float* x, int64_t rows, int64_t cols, int64_t stride, float* to) {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x + r * stride, cols, to + r * cols);
}

}  // namespace

// KERF_ISA holds for oneDNN too. It must be told before its first product.
void cap_onednn_isa() {
  static const bool done = [] {
    const auto cap = [](dnnl_cpu_isa_t level) {
      if (dnnl_set_max_cpu_isa(level) != dnnl_success && isa() != cpu_isa())
        fail(ErrorKind::internal, "oneDNN was used before KERF_ISA={} could be passed on to it", name_of(isa()));
    };
    if (isa() == Isa::ref) cap(dnnl_cpu_isa_sse41);
    if (isa() == Isa::avx2) cap(dnnl_cpu_isa_avx2);
    return true;
  }();
  static_cast<void>(done);
}

OneOpenMpThread::OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
OneOpenMpThread::~OneOpenMpThread() { omp_set_num_threads(before_); }

float* thread_scratch(int64_t n) {
  thread_local std::unique_ptr<float, AlignedFree> buffer;
  thread_local int64_t size = 0;
  if (n > size) {
    const int64_t bytes = round_up<int64_t>(checked_mul<int64_t>(n, sizeof(float), "scratch"), 64);
    size = 0;
    buffer.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(bytes))));
    if (!buffer) throw std::bad_alloc();
    size = n;
  }
  return buffer.get();
}

void matmul_nt_on_this_thread(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
                              int64_t w_stride, float* y, int64_t y_stride, bool accumulate) {
  if (tokens <= 0 || out <= 0) return;
  if (in <= 0) {
    if (accumulate) return;
    for (int64_t t = 0; t < tokens; ++t) std::fill_n(y + t * y_stride, out, 0.0f);
    return;
  }
  const bool awkward = isa() != Isa::avx2 && tokens > kUnpackedTokens && tokens < kManyTokens;
  const int64_t group = awkward ? ceil_div(tokens, ceil_div(tokens, kUnpackedTokens)) : tokens;
  const int64_t part = awkward ? kUnpackedIn : in;
  for (int64_t k = 0; k < in; k += part) {
    for (int64_t t = 0; t < tokens; t += group)
      multiply_on_this_thread('N', 'T', std::min(group, tokens - t), out, std::min(part, in - k), x + t * x_stride + k,
                              std::max(x_stride, in), w + k, std::max(w_stride, in), accumulate || k > 0 ? 1.0f : 0.0f,
                              y + t * y_stride, std::max(y_stride, out));
  }
}

void matmul_nt(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
               int64_t w_stride, float* y, int64_t y_stride) {
  if (tokens <= 0 || out <= 0) return;
  const int64_t out_panel = even_panel(out, tokens <= kFewTokens ? kFewTokensOutPanel : kOutPanel);
  const int64_t token_panel = even_panel(tokens, kTokenPanel);
  const int64_t out_panels = ceil_div(out, out_panel), token_panels = ceil_div(tokens, token_panel);
  parallel_for(out_panels * token_panels, [&](int64_t i) {
    const int64_t t = i / out_panels * token_panel, r = i % out_panels * out_panel;
    matmul_nt_on_this_thread(std::min(token_panel, tokens - t), std::min(out_panel, out - r), in, x + t * x_stride,
                             x_stride, w + r * w_stride, w_stride, y + t * y_stride + r, y_stride, false);
  });
}

void matmul_nn_on_this_thread(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                              const float* b, int64_t b_stride, float* c, int64_t c_stride, bool accumulate) {
  if (tokens <= 0 || cols <= 0) return;
  if (rows <= 0) {
    for (int64_t t = 0; t < tokens && !accumulate; ++t) std::fill_n(c + t * c_stride, cols, 0.0f);
    return;
  }
  multiply_on_this_thread('N', 'N', tokens, cols, rows, a, a_stride, b, b_stride, accumulate ? 1.0f : 0.0f, c,
                          c_stride);
}

void add_product_tn_on_this_thread(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                                   const float* b, int64_t b_stride, float* c, int64_t c_stride) {
  if (tokens <= 0 || rows <= 0 || cols <= 0) return;
  multiply_on_this_thread('T', 'N', rows, cols, tokens, a, a_stride, b, b_stride, 1.0f, c, c_stride);
}

void add_product_nn(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                    int64_t b_stride, float* c, int64_t c_stride) {
  if (tokens <= 0 || rows <= 0 || cols <= 0) return;
  const int64_t width = even_panel(cols, kOutPanel), height = even_panel(tokens, kTokenPanel);
  const int64_t across = ceil_div(cols, width), down = ceil_div(tokens, height);
  parallel_for(across * down, [&](int64_t i) {
    const int64_t t = i / across * height, k = i % across * width;
    matmul_nn_on_this_thread(std::min(height, tokens - t), rows, std::min(width, cols - k), a + t * a_stride, a_stride,
                             b + k, b_stride, c + t * c_stride + k, c_stride, true);
  });
}

void add_product_tn(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                    int64_t b_stride, float* c, bool upper) {
  if (tokens <= 0 || rows <= 0 || cols <= 0) return;
  const bool same = a == b && rows == cols && a_stride == b_stride;
  thread_local std::vector<float> a_panels, b_panels;
  columns_in_panels(a, tokens, rows, a_stride, even_panel(rows, kSquarePanel), a_panels, copy_rows);
  if (!same) columns_in_panels(b, tokens, cols, b_stride, even_panel(cols, kSquarePanel), b_panels, copy_rows);
  const float *left = a_panels.data(), *right = same ? left : b_panels.data();
  for_panels(rows, cols, kSquarePanel, upper, [&](int64_t i, int64_t height, int64_t j, int64_t width) {
    add_product_tn_on_this_thread(tokens, height, width, left + i * tokens, height, right + j * tokens, width,
                                  c + i * cols + j, cols);
  });
}

}  // namespace kerf
