// oneDNN's bf16 matmul. sgemm has no bf16 sibling in its C interface, so each panel shape is a primitive, made once per
// thread and kept. Panels as in dense_onednn.cc: on a Zen 4 core 256 x 128 x 960 reaches 220 GFLOP/s, twice the float32
// rate, and neither larger panels nor another storage order of the operands change that by more than 10 %.
#include <dnnl.hpp>
#include <map>
#include <tuple>

#include "core/checked.h"
#include "core/cpu.h"
#include "core/error.h"
#include "kernels/dense.h"
#include "kernels/dense_panel.h"

namespace kerf {
namespace {

constexpr int64_t kTokenPanel = 256, kOutPanel = 128, kSquarePanel = 128;

using dnnl::memory;

// c[m, n] (+)= a[m, k] b[k, n] with any distances between elements.
struct Shape {
  int64_t m, n, k;
  memory::dims a, b, c;  // distances
  bool accumulate;
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
  Product p{.a = {{s.m, s.k}, memory::data_type::bf16, s.a},
            .b = {{s.k, s.n}, memory::data_type::bf16, s.b},
            .c = {{s.m, s.n}, memory::data_type::f32, s.c}};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
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

}  // namespace

bool fast_bf16() {
  static const bool fast = [] {
    if (isa() != Isa::avx512) return false;
    cap_onednn_isa();
    return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16;
  }();
  return fast;
}

void matmul_nt_bf16(int64_t tokens, int64_t out, int64_t in, const uint16_t* x, int64_t x_stride, const uint16_t* w,
                    int64_t w_stride, float* y, int64_t y_stride) {
  if (tokens <= 0 || out <= 0) return;
  if (!fast_bf16() || in <= 0) fail(ErrorKind::internal, "a bf16 product of {} x {} x {} here", tokens, out, in);
  const int64_t out_panel = even_panel(out, kOutPanel), token_panel = even_panel(tokens, kTokenPanel);
  const int64_t out_panels = ceil_div(out, out_panel), token_panels = ceil_div(tokens, token_panel);
  parallel_for(out_panels * token_panels, [&](int64_t i) {
    const int64_t t = i / out_panels * token_panel, r = i % out_panels * out_panel;
    multiply({.m = std::min(token_panel, tokens - t),
              .n = std::min(out_panel, out - r),
              .k = in,
              .a = {x_stride, 1},
              .b = {1, w_stride},
              .c = {y_stride, 1},
              .accumulate = false},
             x + t * x_stride, w + r * w_stride, y + t * y_stride + r);
  });
}

void add_product_tn_bf16(int64_t tokens, int64_t n, const uint16_t* a, const uint16_t* b, int64_t stride, float* c,
                         bool upper) {
  if (tokens <= 0 || n <= 0) return;
  if (!fast_bf16()) fail(ErrorKind::internal, "a bf16 product of {} x {} x {} here", n, n, tokens);
  for_square_panels(n, even_panel(n, kSquarePanel), upper, [&](int64_t i, int64_t rows, int64_t j, int64_t cols) {
    multiply({.m = rows, .n = cols, .k = tokens, .a = {1, stride}, .b = {stride, 1}, .c = {n, 1}, .accumulate = true},
             a + i, b + j, c + i * n + j);
  });
}

}  // namespace kerf
