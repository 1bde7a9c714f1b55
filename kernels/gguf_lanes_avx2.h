// Products by lanes (q8_gemm_ref.h) on AVX2. A lane's four codes are widened to 16 bits as two pairs, those at even and
// those at odd places, whose products two madds leave in the lane's own 32 bits. A tile of kRows x kTokens sums stays
// in registers; its scales are multiplied 8 blocks at a time and read back one by one as broadcasts.
#pragma once

#include "kernels/gguf_blocks_avx2.h"

namespace kerf {
namespace {

template <class Block>
struct LanesAvx2 {
  // 8 sums, 2 x 2 vectors of codes, 2 of weights and 2 of products: the 16 registers.
  static constexpr int kRows = 4, kTokens = 2;
  static constexpr int64_t kChunk = 8;

  /// 32 signed bytes as 16-bit numbers: lane l holds bytes 4 l and 4 l + 2, or 4 l + 1 and 4 l + 3.
  struct Widened {
    __m256i even, odd;
    explicit Widened(__m256i bytes)
        : even(_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8)), odd(_mm256_srai_epi16(bytes, 8)) {}
  };

  static __m256 scales_of_eight(const std::byte* block, int64_t n) {
    alignas(16) uint16_t bits[kChunk] = {};
    if (n >= kChunk) {  // without a loop, so that no store has to be forwarded to a wider load
      const auto at = [block](int i) { return static_cast<short>(scale_bits(block + i * Block::kBytes)); };
      return _mm256_cvtph_ps(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)));
    }
    for (int64_t i = 0; i < n; ++i) bits[i] = scale_bits(block + i * Block::kBytes);
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(bits)));
  }

  static __m256 first(const float* p, int64_t n) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index));
  }

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
        const __m256 of_row = scales_of_eight(w.codes + (row + i) * w.code_stride + b0 * Block::kBytes, n);
        for (int j = 0; j < T; ++j)
          _mm256_store_ps(scales[i][j], _mm256_mul_ps(of_row, first(a.scales(t + j) + b0, n)));
      }
      for (int64_t b = 0; b < n; ++b) {
        __m256i even[T], odd[T];
        for (int j = 0; j < T; ++j) {
          const Widened codes(
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.codes(t + j) + (b0 + b) * kQ8Block)));
          even[j] = codes.even;
          odd[j] = codes.odd;
        }
        for (int i = 0; i < R; ++i) {
          const std::byte* block = w.codes + (row + i) * w.code_stride + (b0 + b) * Block::kBytes;
          if (T == 1) _mm_prefetch(block + ahead, _MM_HINT_T1);
          const Widened q(Block::signed_codes(block));
          for (int j = 0; j < T; ++j) {
            const __m256i products =
                _mm256_add_epi32(_mm256_madd_epi16(q.even, even[j]), _mm256_madd_epi16(q.odd, odd[j]));
            sums[i][j] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_broadcast_ss(&scales[i][j][b]), sums[i][j]);
          }
        }
      }
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < T; ++j) y[j * y_stride + i] = sum_of(sums[i][j]);
  }

  template <int T>
  static void rows(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a, int64_t t,
                   float* y, int64_t y_stride) {
    int64_t r = row_begin;
    for (; r + kRows <= row_end; r += kRows) tile<kRows, T>(w, r, a, t, y + (r - row_begin), y_stride);
    for (; r < row_end; ++r) tile<1, T>(w, r, a, t, y + (r - row_begin), y_stride);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const Q8Activations a = q8_activations<Block>(w, activations);
    int64_t t = 0;
    for (; t + kTokens <= tokens; t += kTokens) rows<kTokens>(w, row_begin, row_end, a, t, y + t * y_stride, y_stride);
    for (; t < tokens; ++t) rows<1>(w, row_begin, row_end, a, t, y + t * y_stride, y_stride);
  }
};

}  // namespace
}  // namespace kerf
