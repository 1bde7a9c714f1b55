// Products by lanes (q8_gemm_ref.h) on AVX2. A lane's four codes are widened to 16 bits as two pairs, those at even and
// those at odd places, whose products two madds leave in the lane's own 32 bits. A tile of kRows x kTokens sums stays
// in registers; its scales are multiplied 8 blocks at a time and read back one by one as broadcasts.
#pragma once

#include "kernels/gguf/gguf_blocks_avx2.h"
#include "kernels/gguf/gguf_tiles.h"

namespace kerf {
namespace {

template <class Block>
struct LanesAvx2 : InTiles<LanesAvx2<Block>, Block> {
  // 8 sums, 2 x 2 vectors of codes, 2 of weights and 2 of products: the 16 registers.
  static constexpr int kRows = 4, kTokens = 2;
  static constexpr int64_t kChunk = 8;

  template <int R, int T>
  static void tile(const PackedMatrix& w, int64_t row, const Q8Activations& a, int64_t t, float* y, int64_t y_stride) {
    const int64_t blocks = w.cols / kQ8Block, ahead = R * w.code_stride;
    __m256 sums[R][T];
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < T; ++j) sums[i][j] = _mm256_setzero_ps();
    for (int64_t b0 = 0; b0 < blocks; b0 += kChunk) {
      const int64_t n = blocks - b0 < kChunk ? blocks - b0 : kChunk;
      alignas(32) float scales[R][T][kChunk];
      for (int i = 0; i < R; ++i) {
        const __m256 of_row = scales_of_eight<Block>(w.codes + (row + i) * w.code_stride + b0 * Block::kBytes, n);
        for (int j = 0; j < T; ++j)
          _mm256_store_ps(scales[i][j], _mm256_mul_ps(of_row, first_of_eight(a.scales(t + j) + b0, n)));
      }
      for (int64_t b = 0; b < n; ++b) {
        Widened codes[T];
        for (int j = 0; j < T; ++j) codes[j] = Widened(bytes_at(a.codes(t + j) + (b0 + b) * kQ8Block));
        for (int i = 0; i < R; ++i) {
          const std::byte* block = w.codes + (row + i) * w.code_stride + (b0 + b) * Block::kBytes;
          if (T == 1) _mm_prefetch(block + ahead, _MM_HINT_T1);
          const Widened q(Block::signed_codes(block));
          for (int j = 0; j < T; ++j) {
            const __m256i products = products_of_fours(q, codes[j]);
            sums[i][j] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_broadcast_ss(&scales[i][j][b]), sums[i][j]);
          }
        }
      }
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < T; ++j) {
        float* const out = y + j * y_stride + i;
        *out = sum_of(sums[i][j]);
        if constexpr (Block::kSums) *out += sum_of_offsets<Block>(w, row + i, a, t + j);
      }
  }
};

}  // namespace
}  // namespace kerf
