// Products by lanes (q8_gemm_ref.h) of many tokens on AVX-512 VNNI: 16 rows are repacked so that the lanes of a vector
// are rows and each 32-bit lane holds 4 weights along the row, those of one lane of the definition; a tile keeps its 8
// vectors of sums for each of kTokens tokens in registers. Weights are taken as u = q + zero point, and what that adds
// too much comes with the activations. Few tokens: as they lie (gguf_lanes_avx512.h).
#pragma once

#include "kernels/gguf/gguf_lanes_avx512.h"

namespace kerf {
namespace {

/// Of 16 rows, where a type has them.
template <bool kSums>
struct PanelOffsets {
  float offsets[16];
};
template <>
struct PanelOffsets<false> {};

template <class Block>
struct LanePanelsAvx512 {
  static constexpr int kLanes = 8;  // of the definition
  static constexpr int kRows = 16;
  // 24 sums, 3 scales, weights and products: 30 of the 32 registers.
  static constexpr int kTokens = 3;
  // Up to here, repacking costs more than it saves (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 8;

  struct alignas(64) PanelBlock : PanelOffsets<Block::kSums> {
    uint8_t codes[kLanes][kRows][4];
    float scales[kRows];
  };

  static void repack(const PackedMatrix& w, int64_t row, int rows, PanelBlock& out, int64_t b) {
    alignas(32) uint16_t scales[kRows] = {}, offsets[kRows] = {};
    for (int half = 0; half < kRows; half += 8) {
      __m256i v[8];
      for (int i = 0; i < 8; ++i) {
        v[i] = _mm256_setzero_si256();
        if (half + i >= rows) continue;
        const std::byte* block = w.codes + (row + half + i) * w.code_stride + b * Block::kBytes;
        v[i] = Block::unsigned_codes(block);
        scales[half + i] = scale_bits(block);
        if (Block::kSums) offsets[half + i] = scale_bits(block + 2);
      }
      transpose8(v);
      for (int k = 0; k < kLanes; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes[k][half]), v[k]);
    }
    _mm512_store_ps(out.scales, _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales))));
    if constexpr (Block::kSums)
      _mm512_store_ps(out.offsets, _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(offsets))));
  }

  static __m512i everywhere(const std::byte* word) {
    int32_t v;
    __builtin_memcpy(&v, word, 4);
    return _mm512_set1_epi32(v);
  }

  template <int T>
  static void tile(const PanelBlock* panel, int64_t blocks, const Q8Activations& a, int64_t t, float* y,
                   int64_t y_stride, __mmask16 rows) {
    __m512 sums[T][kLanes];
    for (int i = 0; i < T; ++i)
      for (int k = 0; k < kLanes; ++k) sums[i][k] = _mm512_setzero_ps();
    const std::byte* codes = a.codes(t);
    const std::byte* scales = reinterpret_cast<const std::byte*>(a.scales(t));
    [[maybe_unused]] const std::byte* extra = reinterpret_cast<const std::byte*>(a.corrections(t));
    __m512 offsets[T];
    for (int i = 0; i < T; ++i) offsets[i] = _mm512_setzero_ps();
    const int64_t stride = a.bytes;
    for (int64_t b = 0; b < blocks; ++b, ++panel, codes += kQ8Block, scales += 4, extra += Block::kExtraWords * 4) {
      const __m512 row_scales = _mm512_load_ps(panel->scales);
      __m512 both[T];
      for (int i = 0; i < T; ++i)
        both[i] = _mm512_mul_ps(row_scales, _mm512_castsi512_ps(everywhere(scales + i * stride)));
      for (int k = 0; k < kLanes; ++k) {
        const __m512i u = _mm512_load_si512(panel->codes[k]);
        for (int i = 0; i < T; ++i) {
          const __m512i start = Block::kCorrections ? everywhere(extra + i * stride + k * 4) : _mm512_setzero_si512();
          const __m512i products = _mm512_dpbusd_epi32(start, u, everywhere(codes + i * stride + k * 4));
          sums[i][k] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), both[i], sums[i][k]);
        }
      }
      if constexpr (Block::kSums) {
        const __m512 of_rows = _mm512_load_ps(panel->offsets);
        for (int i = 0; i < T; ++i)
          offsets[i] = _mm512_fmadd_ps(of_rows, _mm512_castsi512_ps(everywhere(extra + i * stride)), offsets[i]);
      }
    }
    for (int i = 0; i < T; ++i) {
      for (int k = 0; k < 4; ++k) sums[i][k] = _mm512_add_ps(sums[i][k], sums[i][k + 4]);
      for (int k = 0; k < 2; ++k) sums[i][k] = _mm512_add_ps(sums[i][k], sums[i][k + 2]);
      __m512 total = _mm512_add_ps(sums[i][0], sums[i][1]);
      if constexpr (Block::kSums) total = _mm512_add_ps(total, offsets[i]);
      _mm512_mask_storeu_ps(y + i * y_stride, rows, total);
    }
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    if (tokens <= kFewTokens)
      return LanesAvx512<Block>::multiply(w, row_begin, row_end, activations, tokens, y, y_stride);
    using Tile = void (*)(const PanelBlock*, int64_t, const Q8Activations&, int64_t, float*, int64_t, __mmask16);
    static constexpr Tile tiles[kTokens + 1] = {nullptr, tile<1>, tile<2>, tile<3>};
    const Q8Activations a = q8_activations<Block>(w, activations);
    const int64_t blocks = w.cols / kQ8Block;
    const PanelMemory<PanelBlock> panel(blocks);              // two thirds more bytes than the rows have in the file
    const int64_t groups = (tokens + kTokens - 1) / kTokens;  // as even as possible
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
      for (int64_t b = 0; b < blocks; ++b) repack(w, r, rows, panel.blocks[b], b);
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t t = g * tokens / groups, end = (g + 1) * tokens / groups;
        tiles[end - t](panel.blocks, blocks, a, t, y + t * y_stride + (r - row_begin), y_stride, first(rows));
      }
    }
  }
};

}  // namespace
}  // namespace kerf
