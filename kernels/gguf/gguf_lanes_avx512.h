// Products by lanes (q8_gemm_ref.h) on AVX-512 VNNI. The 32 codes of a block fill a 256-bit vector, so that its eight
// 32-bit lanes are the lanes of the definition: dpbusd multiplies unsigned by signed bytes and adds four products to
// each. Weights are taken as u = q + zero point; a token's zero point times its codes, which is the same for all rows,
// is taken off first. A tile of kRows x kTokens sums stays in registers; scales of a tile are multiplied 16 blocks at a
// time and read back one by one as broadcasts, which costs only a load.
#pragma once

#include "kernels/gguf/gguf_blocks_avx2.h"
#include "kernels/gguf/gguf_tiles.h"

namespace kerf {
namespace {

constexpr int64_t kScalesAtOnce = 16;

/// The scales of n <= 16 blocks that lie side by side, 0 beyond.
template <class Block>
inline __m512 scales_of(const std::byte* block, int64_t n) {
  if constexpr (!Block::kHalfScale) {
    const __m256 low = scales_of_eight<Block>(block, n),
                 high = scales_of_eight<Block>(block + 8 * Block::kBytes, n - 8);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  alignas(32) uint16_t bits[kScalesAtOnce] = {};
  if (n >= kScalesAtOnce) {  // without a loop, so that no store has to be forwarded to a wider load
    const auto at = [block](int i) { return static_cast<short>(scale_bits(block + i * Block::kBytes)); };
    return _mm512_cvtph_ps(_mm256_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9),
                                             at(10), at(11), at(12), at(13), at(14), at(15)));
  }
  for (int64_t i = 0; i < n; ++i) bits[i] = scale_bits(block + i * Block::kBytes);
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
}

/// The mask of the first n <= 16 lanes.
inline __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }

template <class Block>
struct LanesAvx512 : InTiles<LanesAvx512<Block>, Block> {
  // 16 sums, 4 vectors of codes and 4 of corrections, weights and products: 27 of the 32 registers.
  static constexpr int kRows = 4, kTokens = 4;

  template <int R, int T>
  static void tile(const PackedMatrix& w, int64_t row, const Q8Activations& a, int64_t t, float* y, int64_t y_stride) {
    const int64_t blocks = w.cols / kQ8Block, ahead = R * w.code_stride;
    const __m256i zero_point = _mm256_set1_epi8(static_cast<char>(Block::kZeroPoint));
    __m256 sums[R][T];
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < T; ++j) sums[i][j] = _mm256_setzero_ps();
    for (int64_t b0 = 0; b0 < blocks; b0 += kScalesAtOnce) {
      const int64_t n = blocks - b0 < kScalesAtOnce ? blocks - b0 : kScalesAtOnce;
      alignas(64) float scales[R][T][kScalesAtOnce];
      for (int i = 0; i < R; ++i) {
        const __m512 of_row = scales_of<Block>(w.codes + (row + i) * w.code_stride + b0 * Block::kBytes, n);
        for (int j = 0; j < T; ++j) {
          const __m512 of_token = _mm512_maskz_loadu_ps(first(n), a.scales(t + j) + b0);
          _mm512_store_ps(scales[i][j], _mm512_mul_ps(of_row, of_token));
        }
      }
      for (int64_t b = 0; b < n; ++b) {
        __m256i codes[T], corrections[T];
        for (int j = 0; j < T; ++j) {
          codes[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.codes(t + j) + (b0 + b) * kQ8Block));
          corrections[j] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                            _mm256_dpbusd_epi32(_mm256_setzero_si256(), zero_point, codes[j]));
        }
        for (int i = 0; i < R; ++i) {
          const std::byte* block = w.codes + (row + i) * w.code_stride + (b0 + b) * Block::kBytes;
          if (T == 1) _mm_prefetch(block + ahead, _MM_HINT_T1);
          const __m256i u = Block::unsigned_codes(block);
          for (int j = 0; j < T; ++j) {
            const __m256i products = _mm256_dpbusd_epi32(corrections[j], u, codes[j]);
            sums[i][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(scales[i][j][b]), sums[i][j]);
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
