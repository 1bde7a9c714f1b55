// Products with compressed-tensors weights, for any instruction set. Few tokens: weights are dequantized in registers
// on their way to the sum, so that memory is read once and as packed. Many: see multiply_many_tokens.
//
// Ops<kBits, kCompute> is the instruction set:
//   Vec, kWidth                   a register of kWidth floats
//   Group, group(scale)           what a group of weights needs in order to dequantize
//   weights(p, group)             the kWidth weights that begin at this byte, in an order of its own,
//   activations(a)                and as many activations in that order
//   store(p, group, out)          the weights, in their order
//   zero(), fma(a, b, c), sum(v)
//   kFewTokens, kRowsAtOnce       up to so many tokens, dequantizing again for each costs less than writing a panel of
//                                 floats; rows whose sums fit into registers
#pragma once

#include "kernels/compressed_tensors/ct_codes_avx2.h"

namespace kerf {
namespace {

/// out[0 .. end - begin) = weights begin .. end of a row; begin is even.
template <template <int, Dtype> class Ops, int kBits, Dtype kCompute>
void dequantize_part(const PackedMatrix& w, int64_t row, int64_t begin, int64_t end, float* out) {
  using Isa = Ops<kBits, kCompute>;
  const std::byte* codes = w.codes + row * w.code_stride;
  for (int64_t k = begin; k < end;) {
    const int64_t group = k / w.group, group_end = (group + 1) * w.group;
    const int64_t stop = group_end < end ? group_end : end;
    const float scale = scale_at<kCompute>(w, row, group);
    if (k * kBits % 8 == 0) {
      const typename Isa::Group values = Isa::group(scale);
      for (; k + Isa::kWidth <= stop; k += Isa::kWidth) Isa::store(codes + k * kBits / 8, values, out + (k - begin));
    }
    for (; k < stop; ++k) out[k - begin] = rounded_one<kCompute>(static_cast<float>(code_at<kBits>(codes, k)) * scale);
  }
}

template <template <int, Dtype> class Ops, int kBits, Dtype kCompute>
void dequantize(const PackedMatrix& w, int64_t row, float* out) {
  dequantize_part<Ops, kBits, kCompute>(w, row, 0, w.cols, out);
}

/// A panel of weights is dequantized once and multiplied as float32: 128 rows of 1024 columns are 512 KiB, which the
/// second-level cache holds.
template <template <int, Dtype> class Ops, int kBits, Dtype kCompute>
void multiply_many_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* a, int64_t tokens,
                          float* y, int64_t y_stride) {
  constexpr int64_t kRows = 128, kCols = 1024;
  const int64_t most_rows = row_end - row_begin < kRows ? row_end - row_begin : kRows;
  float* panel = thread_scratch(most_rows * (w.cols < kCols ? w.cols : kCols));
  for (int64_t r = row_begin; r < row_end; r += kRows) {
    const int64_t rows = row_end - r < kRows ? row_end - r : kRows;
    for (int64_t k = 0; k < w.cols; k += kCols) {
      const int64_t cols = w.cols - k < kCols ? w.cols - k : kCols;
      for (int64_t i = 0; i < rows; ++i) dequantize_part<Ops, kBits, kCompute>(w, r + i, k, k + cols, panel + i * cols);
      matmul_nt_on_this_thread(tokens, rows, cols, a + k, w.cols, panel, cols, y + (r - row_begin), y_stride, k > 0);
    }
  }
}

template <template <int, Dtype> class Ops, int kBits>
struct CtGemm {
  // Rows row .. row + R; groups are multiples of kWidth weights.
  template <int R, Dtype kCompute>
  static void dot(const PackedMatrix& w, int64_t row, const float* a, float* y) {
    using Isa = Ops<kBits, kCompute>;
    const std::byte* codes[R];
    typename Isa::Vec sums[R];
    for (int i = 0; i < R; ++i) {
      codes[i] = w.codes + (row + i) * w.code_stride;
      sums[i] = Isa::zero();
    }
    for (int64_t g = 0, k = 0; k < w.cols; ++g) {
      typename Isa::Group groups[R];
      for (int i = 0; i < R; ++i) groups[i] = Isa::group(scale_at<kCompute>(w, row + i, g));
      for (const int64_t end = k + w.group; k < end; k += Isa::kWidth) {
        const typename Isa::Vec factor = Isa::activations(a + k);
        for (int i = 0; i < R; ++i)
          sums[i] = Isa::fma(Isa::weights(codes[i] + k * kBits / 8, groups[i]), factor, sums[i]);
      }
    }
    for (int i = 0; i < R; ++i) y[i] = Isa::sum(sums[i]);
  }

  template <Dtype kCompute>
  static void few_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const float* a, int64_t tokens,
                         float* y, int64_t y_stride) {
    constexpr int kRows = Ops<kBits, kCompute>::kRowsAtOnce;
    int64_t r = row_begin;
    for (; r + kRows <= row_end; r += kRows)
      for (int64_t t = 0; t < tokens; ++t)
        dot<kRows, kCompute>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
    for (; r < row_end; ++r)
      for (int64_t t = 0; t < tokens; ++t) dot<1, kCompute>(w, r, a + t * w.cols, y + t * y_stride + (r - row_begin));
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    with_compute(w, [&]<Dtype kCompute>() { round_activations<kCompute>(w, x, out); });
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const auto* a = reinterpret_cast<const float*>(activations);
    with_compute(w, [&]<Dtype kCompute>() {
      using Isa = Ops<kBits, kCompute>;
      if (tokens <= Isa::kFewTokens && w.group % Isa::kWidth == 0)
        few_tokens<kCompute>(w, row_begin, row_end, a, tokens, y, y_stride);
      else
        multiply_many_tokens<Ops, kBits, kCompute>(w, row_begin, row_end, a, tokens, y, y_stride);
    });
  }

  static void dequantize_row(const PackedMatrix& w, int64_t row, float* out) {
    with_compute(w, [&]<Dtype kCompute>() { dequantize<Ops, kBits, kCompute>(w, row, out); });
  }

  static constexpr PackedGemm plugin(std::string_view format, kerf::Isa isa) {
    return {.format = format,
            .isa = isa,
            .activation_bytes = ct_activation_bytes,
            .round_activations = round,
            .multiply = multiply,
            .dequantize = dequantize_row,
            .activation_values = ct_activation_values};
  }
};

}  // namespace
}  // namespace kerf
