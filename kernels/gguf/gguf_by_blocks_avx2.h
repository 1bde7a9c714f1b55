// Products by blocks (q8_gemm_ref.h) on AVX2.
//
// Many tokens: 16 rows are repacked so that the lanes of two vectors are rows and each lane holds the next weights
// along the row; kTokens tokens share each load. Few tokens: nothing is repacked; the lanes' sums of 8 blocks are added
// up for kRowsAtOnce rows, and then travel block by block.
#pragma once

#include "kernels/gguf/gguf_lanes_avx2.h"

namespace kerf {
namespace {

/// Products of weights that are nibbles. maddubs multiplies them as unsigned bytes with the token's codes, four per
/// lane in two 16-bit sums that hold a whole block (8 x 2 x 15 x 128 = 30720); the zero point times the codes is taken
/// off.
struct NibbleProducts {
  static constexpr bool kSigned = false;
  static constexpr int kSteps = 8;
  template <class Block>
  static __m256i weights(const std::byte* block, int) {
    return Block::unsigned_codes(block);
  }
  static __m256i codes(const std::byte* codes, int) { return bytes_at(codes); }
  static __m256i added(__m256i sums, __m256i w, __m256i a) {
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, a));
  }
  static __m256i summed(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }
  template <class Block>
  static __m256i of_block(const std::byte* block, const std::byte* codes) {
    return summed(_mm256_maddubs_epi16(Block::unsigned_codes(block), bytes_at(codes)));
  }
};

/// Products of any signed bytes, widened to 16 bits: two per lane and step.
struct WideProducts {
  static constexpr bool kSigned = true;
  static constexpr int kSteps = 16;
  static __m256i half_of(__m256i bytes, int part) {
    return _mm256_cvtepi8_epi16(part ? _mm256_extracti128_si256(bytes, 1) : _mm256_castsi256_si128(bytes));
  }
  template <class Block>
  static __m256i weights(const std::byte* block, int part) {
    return half_of(Block::signed_codes(block), part);
  }
  static __m256i codes(const std::byte* codes, int part) { return half_of(bytes_at(codes), part); }
  static __m256i added(__m256i sums, __m256i w, __m256i a) { return _mm256_add_epi32(sums, _mm256_madd_epi16(w, a)); }
  static __m256i summed(__m256i sums) { return sums; }
  template <class Block>
  static __m256i of_block(const std::byte* block, const std::byte* codes) {
    return products_of_fours(Widened(Block::signed_codes(block)), Widened(bytes_at(codes)));
  }
};

/// kOtherwise multiplies matrices that llama.cpp does not interleave.
template <class Block, class Products, auto kOtherwise = LanesAvx2<Block>::multiply>
struct BlocksAvx2 : FewOrMany<BlocksAvx2<Block, Products, kOtherwise>, Block, kOtherwise> {
  static constexpr int kSteps = Products::kSteps;  // 32-bit lanes that a block takes
  static constexpr int kRows = 16, kChunk = 16;    // 8 or 16 KiB of weights, which the first-level cache holds
  // 6 integer sums, two weights, a factor and products in the 16 registers; g++ 12 spills a sum when there are 8. The
  // float sums are touched once a block.
  static constexpr int kTokens = 3;
  // Up to here, repacking costs more than reading the weights again for each token (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 2;
  static constexpr int kRowsAtOnce = 4;

  struct alignas(32) Panel {
    std::byte codes[kChunk][kSteps][kRows][4];
    float scales[kChunk][kRows];
  };
  struct alignas(32) Tokens {
    std::byte codes[kTokens][kChunk][kSteps][4];
    float scales[kTokens][kChunk];
    int32_t corrections[kTokens][kChunk];
  };

  static void repack(const PackedMatrix& w, int64_t row, int rows, int64_t block_begin, int blocks, Panel& panel) {
    for (int b = 0; b < blocks; ++b) {
      for (int half = 0; half < kRows; half += 8) {
        __m256i v[kSteps / 8][8];
        for (int i = 0; i < 8; ++i) {
          for (int part = 0; part < kSteps / 8; ++part) v[part][i] = _mm256_setzero_si256();
          panel.scales[b][half + i] = 0;
          if (half + i >= rows) continue;
          const std::byte* block = w.codes + (row + half + i) * w.code_stride + (block_begin + b) * Block::kBytes;
          for (int part = 0; part < kSteps / 8; ++part) v[part][i] = Products::template weights<Block>(block, part);
          panel.scales[b][half + i] = Block::scale(block);
        }
        for (int part = 0; part < kSteps / 8; ++part) {
          transpose8(v[part]);
          for (int k = 0; k < 8; ++k)
            _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][part * 8 + k][half]), v[part][k]);
        }
      }
    }
  }

  /// Tokens past the last repeat it; their results are not used.
  static void gather(const Q8Activations& a, int64_t t, int n, int64_t block_begin, int blocks, Tokens& tokens) {
    for (int i = 0; i < kTokens; ++i) {
      const int64_t from = t + (i < n ? i : n - 1);
      for (int b = 0; b < blocks; ++b) {
        const std::byte* codes = a.codes(from) + (block_begin + b) * kQ8Block;
        for (int part = 0; part < kSteps / 8; ++part)
          _mm256_store_si256(reinterpret_cast<__m256i*>(tokens.codes[i][b][part * 8]), Products::codes(codes, part));
        tokens.scales[i][b] = a.scales(from)[block_begin + b];
        tokens.corrections[i][b] = a.corrections(from)[block_begin + b];
      }
    }
  }

  static void tile(const Panel& panel, int blocks, const Tokens& tokens, __m256 (&sums)[kTokens][2]) {
    for (int b = 0; b < blocks; ++b) {
      __m256i products[kTokens][2];
      for (int i = 0; i < kTokens; ++i) products[i][0] = products[i][1] = _mm256_setzero_si256();
      for (int k = 0; k < kSteps; ++k) {
        const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][0]));
        const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][8]));
        for (int i = 0; i < kTokens; ++i) {
          int32_t lane;
          __builtin_memcpy(&lane, tokens.codes[i][b][k], 4);
          const __m256i a = _mm256_set1_epi32(lane);
          products[i][0] = Products::added(products[i][0], w0, a);
          products[i][1] = Products::added(products[i][1], w1, a);
        }
      }
      for (int i = 0; i < kTokens; ++i) {
        const __m256 token_scale = _mm256_set1_ps(tokens.scales[i][b]);
        const __m256i correction = _mm256_set1_epi32(Products::kSigned ? 0 : tokens.corrections[i][b]);
        for (int half = 0; half < 2; ++half) {
          const __m256 scale = _mm256_mul_ps(_mm256_load_ps(panel.scales[b] + half * 8), token_scale);
          const __m256i product = _mm256_add_epi32(Products::summed(products[i][half]), correction);
          sums[i][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), scale, sums[i][half]);
        }
      }
    }
  }

  static void many_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a,
                          int64_t tokens, float* y, int64_t y_stride) {
    Panel panel;
    Tokens gathered;
    const int64_t blocks = w.cols / kQ8Block;
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
      for (int64_t b = 0; b < blocks; b += kChunk) {
        const int chunk = static_cast<int>(blocks - b < kChunk ? blocks - b : kChunk);
        repack(w, r, rows, b, chunk, panel);
        for (int64_t t = 0; t < tokens; t += kTokens) {
          const int n = static_cast<int>(tokens - t < kTokens ? tokens - t : kTokens);
          gather(a, t, n, b, chunk, gathered);
          alignas(32) float part[kTokens][kRows] = {};
          float* out = y + t * y_stride + (r - row_begin);
          if (b > 0)
            for (int i = 0; i < n; ++i)
              for (int j = 0; j < rows; ++j) part[i][j] = out[i * y_stride + j];
          __m256 sums[kTokens][2];
          for (int i = 0; i < kTokens; ++i)
            for (int half = 0; half < 2; ++half) sums[i][half] = _mm256_load_ps(part[i] + half * 8);
          tile(panel, chunk, gathered, sums);
          for (int i = 0; i < kTokens; ++i)
            for (int half = 0; half < 2; ++half) _mm256_store_ps(part[i] + half * 8, sums[i][half]);
          for (int i = 0; i < n; ++i)
            for (int j = 0; j < rows; ++j) out[i * y_stride + j] = part[i][j];
        }
      }
    }
  }

  /// Sums of weight times code in n <= 8 blocks side by side; lanes from n on are those of the last block.
  static __m256i block_products(const std::byte* block, int64_t n, const std::byte* codes) {
    __m256i v[8];
    for (int64_t i = 0; i < 8; ++i) {
      const int64_t b = i < n ? i : n - 1;
      v[i] = Products::template of_block<Block>(block + b * Block::kBytes, codes + b * kQ8Block);
    }
    const auto join = [](__m256i x, __m256i y) {
      return _mm256_add_epi32(_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
    };
    const auto join_pairs = [](__m256i x, __m256i y) {
      return _mm256_add_epi32(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
    };
    const __m256i low = join_pairs(join(v[0], v[1]), join(v[2], v[3]));
    const __m256i high = join_pairs(join(v[4], v[5]), join(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
  }

  /// v[i][b] becomes out[b % 4][b / 4][i].
  static void transpose4(const __m256 (&v)[kRowsAtOnce], float (&out)[4][2][kRowsAtOnce]) {
    const auto pairs = [](__m256 x, __m256 y) { return _mm256_castps_pd(_mm256_unpacklo_ps(x, y)); };
    const auto other_pairs = [](__m256 x, __m256 y) { return _mm256_castps_pd(_mm256_unpackhi_ps(x, y)); };
    const __m256d a = pairs(v[0], v[1]), b = pairs(v[2], v[3]);
    const __m256d c = other_pairs(v[0], v[1]), d = other_pairs(v[2], v[3]);
    _mm256_store_ps(out[0][0], _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)));
    _mm256_store_ps(out[1][0], _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    _mm256_store_ps(out[2][0], _mm256_castpd_ps(_mm256_unpacklo_pd(c, d)));
    _mm256_store_ps(out[3][0], _mm256_castpd_ps(_mm256_unpackhi_pd(c, d)));
  }

  /// Rows row .. row + n of one token, n <= kRowsAtOnce.
  static void few_rows(const PackedMatrix& w, int64_t row, int n, const Q8Activations& a, int64_t t, float* y) {
    constexpr int64_t kBlocks = 8;
    const int64_t blocks = w.cols / kQ8Block, ahead = kRowsAtOnce * w.code_stride;
    __m128 sums = _mm_setzero_ps();
    for (int64_t b0 = 0; b0 < blocks; b0 += kBlocks) {
      const int64_t now = blocks - b0 < kBlocks ? blocks - b0 : kBlocks;
      const __m256 token_scales = first_of_eight(a.scales(t) + b0, now);
      const __m256i corrections =
          _mm256_castps_si256(first_of_eight(reinterpret_cast<const float*>(a.corrections(t) + b0), now));
      __m256 products[kRowsAtOnce], scales[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const std::byte* block = w.codes + (row + (i < n ? i : n - 1)) * w.code_stride + b0 * Block::kBytes;
        for (int64_t at = 0; at < kBlocks * Block::kBytes; at += 64) _mm_prefetch(block + ahead + at, _MM_HINT_T1);
        const __m256i sum = block_products(block, now, a.codes(t) + b0 * kQ8Block);
        products[i] = _mm256_cvtepi32_ps(Products::kSigned ? sum : _mm256_add_epi32(sum, corrections));
        scales[i] = _mm256_mul_ps(scales_of_eight<Block>(block, now), token_scales);
      }
      alignas(32) float of_blocks[4][2][kRowsAtOnce], of_scales[4][2][kRowsAtOnce];
      transpose4(products, of_blocks);
      transpose4(scales, of_scales);
      for (int64_t b = 0; b < now; ++b)
        sums = _mm_fmadd_ps(_mm_load_ps(of_blocks[b % 4][b / 4]), _mm_load_ps(of_scales[b % 4][b / 4]), sums);
    }
    alignas(16) float all[kRowsAtOnce];
    _mm_store_ps(all, sums);
    for (int i = 0; i < n; ++i) y[i] = all[i];
  }
};

}  // namespace
}  // namespace kerf
