// Products by lanes (q8_gemm_ref.h) of many tokens on AVX2, for types whose codes are small: kRows rows are unpacked
// once for all tokens, as unsigned codes u = q + zero point. maddubs multiplies them by the signed codes of a token and
// adds pairs in 16 bits, which hold them up to u = 128; what the zero point adds too much comes with the activations.
// Few tokens: as they lie (gguf_lanes_avx2.h).
#pragma once

#include "kernels/gguf/gguf_lanes_avx2.h"

namespace kerf {
namespace {

template <class Block>
struct LanePanelsAvx2 {
  static_assert(Block::kCorrections == 8 && Block::kZeroPoint <= 64);
  // 8 sums, 2 vectors of codes and 2 of corrections, weights, products and ones: 15 of the 16 registers.
  static constexpr int kRows = 4, kTokens = 2;
  // Up to here, unpacking costs more than it saves (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 2;

  struct alignas(32) PanelBlock {
    std::byte codes[kRows][kQ8Block];
    float scales[kRows];
  };

  static void unpack(const PackedMatrix& w, int64_t row, int rows, PanelBlock& out, int64_t b) {
    for (int i = 0; i < kRows; ++i) {
      const std::byte* block = w.codes + (row + (i < rows ? i : 0)) * w.code_stride + b * Block::kBytes;
      _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes[i]), Block::unsigned_codes(block));
      out.scales[i] = Block::scale(block);
    }
  }

  /// The first `rows` of kRows rows.
  template <int T>
  static void tile(const PanelBlock* panel, int64_t blocks, const Q8Activations& a, int64_t t, float* y,
                   int64_t y_stride, int rows) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 sums[kRows][T];
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < T; ++j) sums[i][j] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; ++b, ++panel) {
      __m256i codes[T], corrections[T];
      alignas(16) float scales[T][kRows];
      for (int j = 0; j < T; ++j) {
        codes[j] = bytes_at(a.codes(t + j) + b * kQ8Block);
        corrections[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.corrections(t + j) + b * 8));
        _mm_store_ps(scales[j], _mm_mul_ps(_mm_load_ps(panel->scales), _mm_set1_ps(a.scales(t + j)[b])));
      }
      for (int i = 0; i < kRows; ++i) {
        const __m256i u = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel->codes[i]));
        for (int j = 0; j < T; ++j) {
          const __m256i products = _mm256_madd_epi16(_mm256_maddubs_epi16(u, codes[j]), ones);
          sums[i][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(products, corrections[j])),
                                       _mm256_broadcast_ss(&scales[j][i]), sums[i][j]);
        }
      }
    }
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < T; ++j)
        if (i < rows) y[j * y_stride + i] = sum_of(sums[i][j]);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    if (tokens <= kFewTokens)
      return LanesAvx2<Block>::multiply(w, row_begin, row_end, activations, tokens, y, y_stride);
    const Q8Activations a = q8_activations<Block>(w, activations);
    const int64_t blocks = w.cols / kQ8Block;
    const PanelMemory<PanelBlock> panel(blocks);
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
      for (int64_t b = 0; b < blocks; ++b) unpack(w, r, rows, panel.blocks[b], b);
      float* const out = y + (r - row_begin);
      int64_t t = 0;
      for (; t + kTokens <= tokens; t += kTokens)
        tile<kTokens>(panel.blocks, blocks, a, t, out + t * y_stride, y_stride, rows);
      if (t < tokens) tile<1>(panel.blocks, blocks, a, t, out + t * y_stride, y_stride, rows);
    }
  }
};

}  // namespace
}  // namespace kerf
