// oneDNN's bf16 matmul. sgemm has no bf16 sibling in its C interface, so each panel shape is a primitive, made once per
// thread and kept. Its fast implementation (110 GMAC/s on a Zen 4 core, against 77 to 88 of the general one) takes
// dense matrices only, so operands and results are gathered into dense panels where they are not.
#include <algorithm>
#include <dnnl.hpp>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "core/checked.h"
#include "core/converter.h"
#include "core/cpu.h"
#include "core/error.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/dense_panel.h"

namespace kerf {
namespace {

// Weights are packed anew for every panel of tokens: 1 part in 25 of the time for panels of 256 tokens.
constexpr int64_t kTokenPanel = 256;
// Outputs of one panel of a transposed product: 90 GMAC/s on a Zen 4 core, and larger ones, up to 15 % faster, compute
// more of what lies below the diagonal and share narrow matrices out less evenly.
constexpr int64_t kSquarePanel = 96;

// Rows of a matrix that is wide as a vocabulary, which are then shared out among threads: the weights of a panel and
// what it makes of some 256 tokens stay in the cache.
constexpr int64_t kVocabularyPanel = 4096;

using dnnl::memory;

// c[m, n] = a[m, k] b[k, n], dense; with a_transposed (b_transposed) a is stored as [k, m] (b as [n, k]).
struct Shape {
  int64_t m, n, k;
  bool a_transposed, b_transposed;
  auto operator<=>(const Shape&) const = default;
};

dnnl::engine& engine() {
  static dnnl::engine cpu = [] {
    cap_onednn_isa();
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

struct Product {
  memory::desc a, b, c, scratch;
  dnnl::matmul primitive;
};

Product make(const Shape& s) {
  const auto distances = [](bool transposed, int64_t rows, int64_t cols) {
    return transposed ? memory::dims{1, rows} : memory::dims{cols, 1};
  };
  Product p{.a = {{s.m, s.k}, memory::data_type::bf16, distances(s.a_transposed, s.m, s.k)},
            .b = {{s.k, s.n}, memory::data_type::bf16, distances(s.b_transposed, s.k, s.n)},
            .c = {{s.m, s.n}, memory::data_type::f32, distances(false, s.m, s.n)}};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(p.a, p.b, p.c), attributes, engine());
  p.scratch = description.scratchpad_desc();
  p.primitive = dnnl::matmul(description);
  return p;
}

void multiply(const Shape& s, const uint16_t* a, const uint16_t* b, float* c) {
  const OneOpenMpThread one;
  thread_local std::map<Shape, Product> products;
  thread_local dnnl::stream stream(engine());
  try {
    auto at = products.find(s);
    if (at == products.end()) at = products.emplace(s, make(s)).first;
    const Product& p = at->second;
    const auto wrap = [](const memory::desc& d, const void* data) {
      return memory(d, engine(), const_cast<void*>(data));  // oneDNN only reads the operands
    };
    const auto scratch_floats = static_cast<int64_t>((p.scratch.get_size() + 3) / 4);
    p.primitive.execute(stream, {{DNNL_ARG_SRC, wrap(p.a, a)},
                                 {DNNL_ARG_WEIGHTS, wrap(p.b, b)},
                                 {DNNL_ARG_DST, wrap(p.c, c)},
                                 {DNNL_ARG_SCRATCHPAD, wrap(p.scratch, thread_scratch(scratch_floats))}});
  } catch (const dnnl::error& e) {
    fail(ErrorKind::internal, "oneDNN refused a bf16 product of {} x {} x {}: {}", s.m, s.n, s.k, e.what());
  }
}

// At least n numbers that belong to the calling thread until it asks for the same purpose again.
enum class Purpose { operand, result };
template <class T, Purpose>
std::span<T> own_panel(int64_t n) {
  thread_local std::vector<T> panel;
  if (panel.size() < static_cast<size_t>(n)) panel.resize(static_cast<size_t>(n));
  return {panel.data(), static_cast<size_t>(n)};
}

void round_rows(const float* x, int64_t rows, int64_t cols, int64_t stride, uint16_t* to) {
  if (stride == cols) cols *= std::exchange(rows, 1);
  for (int64_t r = 0; r < rows; ++r) converter().f32_to_bf16(x + r * stride, to + r * cols, cols);
}

// A dense panel to rows that are `stride` apart.
void add_rows(const float* panel, int64_t rows, int64_t cols, float* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < cols; ++k) to[r * stride + k] += panel[r * cols + k];
}

}  // namespace

bool fast_bf16() {
  static const bool fast = [] {
    if (isa() != Isa::avx512) return false;
    cap_onednn_isa();
    return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16;
  }();
  return fast;
}

void matmul_bf16_on_this_thread(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b,
                                bool b_transposed, float* c) {
  multiply({.m = m, .n = n, .k = k, .a_transposed = false, .b_transposed = b_transposed}, a, b, c);
}

void matmul_nt_bf16(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const uint16_t* w,
                    float* y, int64_t y_stride) {
  if (tokens <= 0 || out <= 0) return;
  if (!fast_bf16() || in <= 0) fail(ErrorKind::internal, "a bf16 product of {} x {} x {} here", tokens, out, in);
  const int64_t panel = even_panel(tokens, kTokenPanel), width = even_panel(out, kVocabularyPanel);
  const int64_t across = ceil_div(out, width);
  parallel_for(ceil_div(tokens, panel) * across, [&](int64_t i) {
    const int64_t begin = i / across * panel, rows = std::min(panel, tokens - begin);
    const int64_t first = i % across * width, n = std::min(width, out - first);
    const std::span<uint16_t> rounded = own_panel<uint16_t, Purpose::operand>(rows * in);
    round_rows(x + begin * x_stride, rows, in, x_stride, rounded.data());
    const bool dense = y_stride == n;
    float* result = dense ? y + begin * n : own_panel<float, Purpose::result>(rows * n).data();
    matmul_bf16_on_this_thread(rows, n, in, rounded.data(), w + first * in, true, result);
    for (int64_t t = 0; t < rows && !dense; ++t) std::copy_n(result + t * n, n, y + (begin + t) * y_stride + first);
  });
}

void add_product_nn_bf16(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                         const uint16_t* b, float* c, int64_t c_stride) {
  if (tokens <= 0 || rows <= 0 || cols <= 0) return;
  if (!fast_bf16()) fail(ErrorKind::internal, "a bf16 product of {} x {} x {} here", tokens, cols, rows);
  const int64_t panel = even_panel(tokens, kTokenPanel), depth = even_panel(rows, kVocabularyPanel);
  const int64_t down = ceil_div(tokens, panel), parts = ceil_div(rows, depth);
  std::vector<std::vector<float>> sums(static_cast<size_t>(down * parts));
  parallel_for(down * parts, [&](int64_t i) {
    const int64_t begin = i / parts * panel, n = std::min(panel, tokens - begin);
    const int64_t first = i % parts * depth, k = std::min(depth, rows - first);
    const std::span<uint16_t> rounded = own_panel<uint16_t, Purpose::operand>(n * k);
    round_rows(a + begin * a_stride + first, n, k, a_stride, rounded.data());
    std::vector<float>& sum = sums[static_cast<size_t>(i)];
    sum.resize(static_cast<size_t>(n * cols));
    matmul_bf16_on_this_thread(n, cols, k, rounded.data(), b + first * cols, false, sum.data());
  });
  parallel_for(down, [&](int64_t i) {
    const int64_t begin = i * panel, n = std::min(panel, tokens - begin);
    for (int64_t part = 0; part < parts; ++part)
      add_rows(sums[static_cast<size_t>(i * parts + part)].data(), n, cols, c + begin * c_stride, c_stride);
  });
}

void add_product_tn_bf16(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                         int64_t b_stride, float* c, bool upper) {
  if (tokens <= 0 || rows <= 0 || cols <= 0) return;
  if (!fast_bf16()) fail(ErrorKind::internal, "a bf16 product of {} x {} x {} here", rows, cols, tokens);
  const bool same = a == b && rows == cols && a_stride == b_stride;
  thread_local std::vector<uint16_t> a_panels, b_panels;
  columns_in_panels(a, tokens, rows, a_stride, even_panel(rows, kSquarePanel), a_panels, round_rows);
  if (!same) columns_in_panels(b, tokens, cols, b_stride, even_panel(cols, kSquarePanel), b_panels, round_rows);
  const uint16_t *left = a_panels.data(), *right = same ? left : b_panels.data();
  for_panels(rows, cols, kSquarePanel, upper, [&](int64_t i, int64_t height, int64_t j, int64_t width) {
    const std::span<float> sum = own_panel<float, Purpose::result>(height * width);
    multiply({.m = height, .n = width, .k = tokens, .a_transposed = true, .b_transposed = false}, left + i * tokens,
             right + j * tokens, sum.data());
    add_rows(sum.data(), height, width, c + i * cols + j, cols);
  });
}

}  // namespace kerf
