// int8 x int8 as vLLM computes it, for one instruction set. Integer sums are exact, so all kernels give the same bits.
//
// Ops is the instruction set: what w8_gemm_body.h asks of it for int8, and
//   Ints, no_codes()                 kWidth codes of 32 bits
//   to_codes(v)                      v, rounded to the nearest integer of -127 ... 127; 0 for NaN
//   store(codes, out)                their lowest bytes
//   add(a, b), sum(codes)
//   kRows, kTokens, tile<R, T>(w, row, activations, t, y, y_stride)
//                                    the products of R rows and T tokens, at most kRows and kTokens
#pragma once

#include "kernels/compressed_tensors/w8_gemm_body.h"

namespace kerf {
namespace {

/// Tokens as w8a8_activation_bytes() lays them out.
struct Int8Activations {
  explicit Int8Activations(const PackedMatrix& w, const std::byte* rows) : rows(rows), padded(padded_of(w)) {}
  static int64_t padded_of(const PackedMatrix& w) { return (w.cols + 63) / 64 * 64; }

  const std::byte* codes(int64_t t) const { return rows + t * (padded + 8); }
  float scale(int64_t t) const {
    float s;
    __builtin_memcpy(&s, codes(t) + padded, 4);
    return s;
  }
  int32_t sum_of_codes(int64_t t) const {
    int32_t sum;
    __builtin_memcpy(&sum, codes(t) + padded + 4, 4);
    return sum;
  }

  const std::byte* rows;
  const int64_t padded;
};

inline float vllm_scaled(const PackedMatrix& w, int64_t row, float activation_scale, int32_t sum) {
  return activation_scale * (scale_at<Dtype::f32>(w, row / w.scale_rows, 0) * static_cast<float>(sum));
}

template <class Ops>
struct VllmW8a8 {
  template <int R>
  static void rows(const PackedMatrix& w, int64_t row, const Int8Activations& a, int64_t tokens, float* y,
                   int64_t y_stride) {
    int64_t t = 0;
    for (; t + Ops::kTokens <= tokens; t += Ops::kTokens)
      Ops::template tile<R, Ops::kTokens>(w, row, a, t, y + t * y_stride, y_stride);
    for (; t < tokens; ++t) Ops::template tile<R, 1>(w, row, a, t, y + t * y_stride, y_stride);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const Int8Activations a(w, activations);
    int64_t r = row_begin;
    for (; r + Ops::kRows <= row_end; r += Ops::kRows) rows<Ops::kRows>(w, r, a, tokens, y + (r - row_begin), y_stride);
    for (; r < row_end; ++r) rows<1>(w, r, a, tokens, y + (r - row_begin), y_stride);
  }

  template <Dtype kCompute>
  static void round_row(const PackedMatrix& w, const float* x, std::byte* out) {
    const int64_t padded = Int8Activations::padded_of(w);
    typename Ops::Magnitude most = Ops::no_magnitude();
    const auto input = [&](int64_t k) {
      return Ops::template rounded_input<kCompute>(Ops::load(x + k, smaller(w.cols - k, Ops::kWidth)));
    };
    for (int64_t k = 0; k < w.cols; k += Ops::kWidth) most = Ops::larger(most, input(k));
    const float absmax = Ops::largest(most);
    const bool finite = absmax <= 0x1.fffffep127f;
    const float scale = finite ? absmax / 127.0f : __builtin_nanf("");
    const typename Ops::Vec inverse = Ops::splat(!finite || absmax == 0 ? 0 : 127.0f / absmax);
    typename Ops::Ints sum = Ops::no_codes();
    for (int64_t k = 0; k < padded; k += Ops::kWidth) {
      const typename Ops::Ints codes = finite && k < w.cols ? Ops::to_codes(input(k) * inverse) : Ops::no_codes();
      sum = Ops::add(sum, codes);
      Ops::store(codes, out + k);
    }
    const int32_t total = Ops::sum(sum);
    __builtin_memcpy(out + padded, &scale, 4);
    __builtin_memcpy(out + padded + 4, &total, 4);
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    with_compute(w, [&]<Dtype kCompute>() { round_row<kCompute>(w, x, out); });
  }

  static constexpr PackedGemm plugin() {
    return {.format = "vllm-w8a8",
            .isa = Ops::kIsa,
            .activation_bytes = w8a8_activation_bytes,
            .round_activations = round,
            .multiply = multiply,
            .dequantize = W8Gemm<Ops, ActivationRule::vllm>::dequantize,
            .activation_values = w8a8_activation_values};
  }
};

}  // namespace
}  // namespace kerf
