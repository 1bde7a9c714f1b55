// Products with 8-bit weights and activations in float32 sums, for one instruction set: Ops says how its vectors are
// read, rounded and multiplied (w8_gemm_avx2.h, w8_gemm_avx512.h). Few tokens: weights are dequantized in registers on
// their way to the sum, so that memory is read once and as packed. Many: panels are dequantized and multiplied as
// float32. For files compiled per instruction set only; everything has internal linkage.
#pragma once

#include "kernels/compressed_tensors/ct_codes_avx2.h"
#include "kernels/compressed_tensors/w8_activations.h"

namespace kerf {
namespace {

template <Dtype kCompute>
constexpr float kPackageEpsilon = kCompute == Dtype::bf16  ? 0x1p-7f
                                  : kCompute == Dtype::f16 ? 0x1p-10f
                                                           : 0x1p-23f;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class Ops, ActivationRule kRule, Dtype kCompute>
struct W8Product {
  using Vec = typename Ops::Vec;
  static constexpr int64_t kWidth = Ops::kWidth;
  // vLLM multiplies codes and scales in float32, whatever the model's dtype.
  static constexpr Dtype kStep = kRule == ActivationRule::package ? kCompute : Dtype::f32;

  static float scale(const PackedMatrix& w, int64_t row, int64_t group) {
    return rounded_one<kStep>(scale_at<kStep>(w, row / w.scale_rows, group));
  }

  // n <= kWidth weights; zeros after them.
  static Vec weights(const std::byte* p, int64_t n, Vec scale) {
    const Vec codes = n == kWidth ? Ops::codes(p) : Ops::codes(p, n);
    return Ops::template rounded<kStep>(codes * scale);
  }

  static void dequantize_part(const PackedMatrix& w, int64_t row, int64_t begin, int64_t end, float* out) {
    const std::byte* codes = w.codes + row * w.code_stride;
    for (int64_t k = begin; k < end;) {
      const int64_t group = k / w.group, stop = smaller((group + 1) * w.group, end);
      const Vec s = Ops::splat(scale(w, row, group));
      for (; k < stop; k += kWidth) {
        const int64_t n = smaller(stop - k, kWidth);
        Ops::store(out + (k - begin), weights(codes + k, n, s), n);
      }
      k = stop;
    }
  }

  template <int R>
  static void dot(const PackedMatrix& w, int64_t row, const float* a, float* y) {
    const std::byte* codes[R];
    Vec sums[R], scales[R];
    for (int i = 0; i < R; ++i) {
      codes[i] = w.codes + (row + i) * w.code_stride;
      sums[i] = Ops::splat(0);
    }
    for (int64_t group = 0, k = 0; k < w.cols; ++group) {
      for (int i = 0; i < R; ++i) scales[i] = Ops::splat(scale(w, row + i, group));
      const int64_t stop = smaller(k + w.group, w.cols);
      for (; k + kWidth <= stop; k += kWidth) {
        const Vec factor = Ops::load(a + k);
        for (int i = 0; i < R; ++i) sums[i] = Ops::fma(weights(codes[i] + k, kWidth, scales[i]), factor, sums[i]);
      }
      if (k == stop) continue;
      const Vec factor = Ops::load(a + k, stop - k);
      for (int i = 0; i < R; ++i) sums[i] = Ops::fma(weights(codes[i] + k, stop - k, scales[i]), factor, sums[i]);
      k = stop;
    }
    for (int i = 0; i < R; ++i) y[i] = Ops::sum(sums[i]);
  }

  static void few_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* a, int64_t tokens,
                         float* y, int64_t y_stride) {
    constexpr int kRows = 4;
    int64_t r = row_begin;
    for (; r + kRows <= row_end; r += kRows)
      for (int64_t t = 0; t < tokens; ++t) dot<kRows>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
    for (; r < row_end; ++r)
      for (int64_t t = 0; t < tokens; ++t) dot<1>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
  }

  // 128 rows of 1024 columns are 512 KiB, which the second-level cache holds.
  static void many_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* a, int64_t tokens,
                          float* y, int64_t y_stride) {
    constexpr int64_t kRows = 128, kCols = 1024;
    float* panel = thread_scratch(smaller(row_end - row_begin, kRows) * smaller(w.cols, kCols));
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int64_t rows = smaller(row_end - r, kRows);
      for (int64_t k = 0; k < w.cols; k += kCols) {
        const int64_t cols = smaller(w.cols - k, kCols);
        for (int64_t i = 0; i < rows; ++i) dequantize_part(w, r + i, k, k + cols, panel + i * cols);
        matmul_nt_on_this_thread(tokens, rows, cols, a + k, w.cols, panel, cols, y + (r - row_begin), y_stride, k > 0);
      }
    }
  }

  static float activation_scale(float absmax, bool token) {
    if constexpr (kRule == ActivationRule::package) {
      const float s = rounded_one<kCompute>(absmax / Ops::kTop);
      return s == 0 ? kPackageEpsilon<kCompute> : s;
    }
    if (!token) return (absmax > 1e-10f ? absmax : 1e-10f) / Ops::kTop;
    const float s = absmax / Ops::kTop, least = 1.0f / (448.0f * 512.0f);
    return s > least ? s : least;
  }

  static void round_group(const float* x, int64_t n, bool token, float* out) {
    typename Ops::Magnitude most = Ops::no_magnitude();
    for (int64_t k = 0; k < n; k += kWidth) {
      const int64_t m = smaller(n - k, kWidth);
      const Vec v = Ops::template rounded_input<kCompute>(Ops::load(x + k, m));
      most = Ops::larger(most, v);
      Ops::store(out + k, v, m);
    }
    const float absmax = Ops::largest(most);  // infinite or NaN when any of them is
    if (!(absmax <= 0x1.fffffep127f)) {
      for (int64_t k = 0; k < n; ++k) out[k] = __builtin_nanf("");
      return;
    }
    const Vec s = Ops::splat(activation_scale(absmax, token));
    for (int64_t k = 0; k < n; k += kWidth) {
      const int64_t m = smaller(n - k, kWidth);
      const Vec code = Ops::nearest(Ops::template rounded<kStep>(Ops::load(out + k, m) / s));
      Ops::store(out + k, Ops::template rounded<kStep>(code * s), m);
    }
  }
};

template <class Ops, ActivationRule kRule>
struct W8Gemm {
  template <Dtype kCompute>
  using Product = W8Product<Ops, kRule, kCompute>;

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    auto* a = reinterpret_cast<float*>(out);
    with_compute(w, [&]<Dtype kCompute>() {
      for (int64_t g = 0; g < w.cols; g += w.activation_group)
        Product<kCompute>::round_group(x + g, w.activation_group, w.activation_group == w.cols, a + g);
    });
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const auto* a = reinterpret_cast<const float*>(activations);
    with_compute(w, [&]<Dtype kCompute>() {
      // Up to here, dequantizing again for every token costs less than writing a panel of floats.
      if (tokens <= 2)
        Product<kCompute>::few_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
      else
        Product<kCompute>::many_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
    });
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    with_compute(w, [&]<Dtype kCompute>() { Product<kCompute>::dequantize_part(w, row, 0, w.cols, out); });
  }
};

template <class Ops, ActivationRule kRule>
constexpr PackedGemm w8_gemm(std::string_view format) {
  using Gemm = W8Gemm<Ops, kRule>;
  return {.format = format,
          .isa = Ops::kIsa,
          .activation_bytes = w8_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = w8_activation_values};
}

}  // namespace
}  // namespace kerf
