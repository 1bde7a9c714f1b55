// Products by blocks (q8_gemm_ref.h) with types of nibbles on AVX-512 VNNI. dpbusd multiplies unsigned by signed bytes
// and adds four products to each 32-bit lane, so weights are taken as u = q + zero point, and the zero point times the
// token's codes is taken off (exactly, in integers).
//
// Many tokens: 16 rows are repacked so that the lanes of a vector are rows and each lane holds 4 weights along the row.
// One vector of weights then meets 4 codes of a token, broadcast from memory; kTokens tokens share each load. A panel
// of kChunk blocks is repacked at a time (16 KiB, it stays in the first-level cache), the sums go on in y. Few tokens:
// nothing is repacked; the lanes' sums of 16 blocks are added up for kRowsAtOnce rows, and then travel block by block.
#pragma once

#include "kernels/gguf/gguf_lanes_avx512.h"

namespace kerf {
namespace {

/// kOtherwise multiplies matrices that llama.cpp does not interleave.
template <class Block, auto kOtherwise = LanesAvx512<Block>::multiply>
struct BlocksAvx512 : FewOrMany<BlocksAvx512<Block, kOtherwise>, Block, kOtherwise> {
  static constexpr int kRows = 16, kChunk = 32;
  // 12 integer and 12 float sums, a weight, a factor and a scale: 27 of the 32 registers.
  static constexpr int kTokens = 12;
  // Up to here, repacking costs more than reading the weights again for each token (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 2;
  static constexpr int kRowsAtOnce = 4;

  struct alignas(64) Panel {
    uint8_t codes[kChunk][8][kRows][4];
    float scales[kChunk][kRows];
  };

  static void repack(const PackedMatrix& w, int64_t row, int rows, int64_t block_begin, int blocks, Panel& panel) {
    for (int b = 0; b < blocks; ++b) {
      alignas(32) uint16_t halves[kRows] = {};
      alignas(64) float scales[kRows] = {};
      for (int half = 0; half < kRows; half += 8) {
        __m256i v[8];
        for (int i = 0; i < 8; ++i) {
          v[i] = _mm256_setzero_si256();
          if (half + i >= rows) continue;
          const std::byte* block = w.codes + (row + half + i) * w.code_stride + (block_begin + b) * Block::kBytes;
          v[i] = Block::unsigned_codes(block);
          if constexpr (Block::kHalfScale)
            halves[half + i] = scale_bits(block);
          else
            scales[half + i] = Block::scale(block);
        }
        transpose8(v);
        for (int k = 0; k < 8; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][k][half]), v[k]);
      }
      const __m512 all = Block::kHalfScale
                             ? _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(halves)))
                             : _mm512_load_ps(scales);
      _mm512_store_ps(panel.scales[b], all);
    }
  }

  static int32_t word(const std::byte* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
  }

  /// y[0 .. T)[0 .. 16) = or += the product of the panel with tokens t .. t + T.
  template <int T>
  static void tile(const Panel& panel, int64_t block_begin, int blocks, const Q8Activations& a, int64_t t, float* y,
                   int64_t y_stride, __mmask16 rows) {
    __m512 sums[T];
    for (int i = 0; i < T; ++i)
      sums[i] = block_begin == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows, y + i * y_stride);
    const std::byte* codes = a.codes(t) + block_begin * kQ8Block;
    const std::byte* scales = reinterpret_cast<const std::byte*>(a.scales(t) + block_begin);
    const std::byte* corrections = reinterpret_cast<const std::byte*>(a.corrections(t) + block_begin);
    const int64_t stride = a.bytes;
    for (int b = 0; b < blocks; ++b, codes += kQ8Block, scales += 4, corrections += 4) {
      __m512i products[T];
      for (int i = 0; i < T; ++i) products[i] = _mm512_set1_epi32(word(corrections + i * stride));
      for (int k = 0; k < 8; ++k) {
        const __m512i u = _mm512_load_si512(panel.codes[b][k]);
        for (int i = 0; i < T; ++i)
          products[i] = _mm512_dpbusd_epi32(products[i], u, _mm512_set1_epi32(word(codes + i * stride + k * 4)));
      }
      const __m512 row_scales = _mm512_load_ps(panel.scales[b]);
      for (int i = 0; i < T; ++i) {
        const __m512 token_scale = _mm512_castsi512_ps(_mm512_set1_epi32(word(scales + i * stride)));
        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[i]), _mm512_mul_ps(row_scales, token_scale), sums[i]);
      }
    }
    for (int i = 0; i < T; ++i) _mm512_mask_storeu_ps(y + i * y_stride, rows, sums[i]);
  }

  static void many_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a,
                          int64_t tokens, float* y, int64_t y_stride) {
    using Tile = void (*)(const Panel&, int64_t, int, const Q8Activations&, int64_t, float*, int64_t, __mmask16);
    static constexpr Tile tiles[kTokens + 1] = {nullptr, tile<1>, tile<2>, tile<3>,  tile<4>,  tile<5>, tile<6>,
                                                tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};
    Panel panel;
    const int64_t blocks = w.cols / kQ8Block;
    // Tiles as even as possible: the last one never idles.
    const int64_t groups = (tokens + kTokens - 1) / kTokens;
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
      for (int64_t b = 0; b < blocks; b += kChunk) {
        const int chunk = static_cast<int>(blocks - b < kChunk ? blocks - b : kChunk);
        repack(w, r, rows, b, chunk, panel);
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t t = g * tokens / groups, end = (g + 1) * tokens / groups;
          tiles[end - t](panel, b, chunk, a, t, y + t * y_stride + (r - row_begin), y_stride, first(rows));
        }
      }
    }
  }

  /// The same 16 bytes of four blocks side by side.
  static __m512i gather16(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d) {
    const auto at = [](const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    const __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(at(a)), at(b), 1);
    const __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(at(c)), at(d), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
  }

  /// The codes of 16 blocks of a token, four blocks to a vector: of their first and of their second 16 weights.
  struct SixteenBlocks {
    __m512i first[4], second[4];

    SixteenBlocks(const std::byte* codes, int64_t n) {
      for (int g = 0; g < 4; ++g) {
        const int64_t left = n - 4 * g;
        const std::byte* a = codes + g * 4 * kQ8Block;
        const __m512i a01 = _mm512_maskz_loadu_epi64(left > 1 ? 0xff : left > 0 ? 0x0f : 0, a);
        const __m512i a23 = _mm512_maskz_loadu_epi64(left > 3 ? 0xff : left > 2 ? 0x0f : 0, a + 64);
        first[g] = _mm512_shuffle_i32x4(a01, a23, 0x88);
        second[g] = _mm512_shuffle_i32x4(a01, a23, 0xdd);
      }
    }
  };

  /// What nibbles stand for, plus the zero point.
  static __m512i values_of(__m512i nibbles) {
    if constexpr (Block::kValues == nullptr) {
      return nibbles;
    } else {
      const __m128i values = _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(Block::kValues)),
                                          _mm_set1_epi8(static_cast<char>(Block::kZeroPoint)));
      return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibbles);
    }
  }

  /// Sums of unsigned weight times code in n <= 16 blocks side by side; lanes from n on are not defined.
  static __m512i block_products(const std::byte* block, int64_t n, const SixteenBlocks& a) {
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v[4];
    for (int g = 0; g < 4; ++g) {
      // Past the end the last block stands in.
      const auto at = [&](int64_t b) { return block + (b < n ? b : n - 1) * Block::kBytes + Block::kNibbles; };
      const __m512i nibbles = gather16(at(4 * g), at(4 * g + 1), at(4 * g + 2), at(4 * g + 3));
      v[g] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), values_of(_mm512_and_si512(nibbles, low)), a.first[g]);
      v[g] = _mm512_dpbusd_epi32(v[g], values_of(_mm512_and_si512(_mm512_srli_epi16(nibbles, 4), low)), a.second[g]);
    }
    // Quarter j of v[g] holds four parts of block 4 g + j. Added up, quarter j holds blocks j, 4 + j, 8 + j, 12 + j.
    const auto join = [](__m512i x, __m512i y) {
      return _mm512_add_epi32(_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
    };
    const __m512i v01 = join(v[0], v[1]), v23 = join(v[2], v[3]);
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(v01, v23), _mm512_unpackhi_epi64(v01, v23));
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), all);
  }

  /// v[i][b] becomes out[b % 4][b / 4][i].
  static void transpose4(const __m512 (&v)[kRowsAtOnce], float (&out)[4][4][kRowsAtOnce]) {
    const auto pairs = [](__m512 x, __m512 y) { return _mm512_castps_pd(_mm512_unpacklo_ps(x, y)); };
    const auto other_pairs = [](__m512 x, __m512 y) { return _mm512_castps_pd(_mm512_unpackhi_ps(x, y)); };
    const __m512d a = pairs(v[0], v[1]), b = pairs(v[2], v[3]);
    const __m512d c = other_pairs(v[0], v[1]), d = other_pairs(v[2], v[3]);
    _mm512_store_ps(out[0][0], _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)));
    _mm512_store_ps(out[1][0], _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    _mm512_store_ps(out[2][0], _mm512_castpd_ps(_mm512_unpacklo_pd(c, d)));
    _mm512_store_ps(out[3][0], _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  }

  /// Rows row .. row + n of one token, n <= kRowsAtOnce.
  static void few_rows(const PackedMatrix& w, int64_t row, int n, const Q8Activations& a, int64_t t, float* y) {
    const int64_t blocks = w.cols / kQ8Block, ahead = kRowsAtOnce * w.code_stride;
    __m128 sums = _mm_setzero_ps();
    for (int64_t b0 = 0; b0 < blocks; b0 += kScalesAtOnce) {
      const int64_t now = blocks - b0 < kScalesAtOnce ? blocks - b0 : kScalesAtOnce;
      const SixteenBlocks codes(a.codes(t) + b0 * kQ8Block, now);
      const __m512 token_scales = _mm512_maskz_loadu_ps(first(now), a.scales(t) + b0);
      const __m512i corrections = _mm512_maskz_loadu_epi32(first(now), a.corrections(t) + b0);
      __m512 products[kRowsAtOnce], scales[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const std::byte* block = w.codes + (row + (i < n ? i : n - 1)) * w.code_stride + b0 * Block::kBytes;
        for (int64_t at = 0; at < kScalesAtOnce * Block::kBytes; at += 64)
          _mm_prefetch(block + ahead + at, _MM_HINT_T1);
        products[i] = _mm512_cvtepi32_ps(_mm512_add_epi32(block_products(block, now, codes), corrections));
        scales[i] = _mm512_mul_ps(scales_of<Block>(block, now), token_scales);
      }
      alignas(64) float of_blocks[4][4][kRowsAtOnce], of_scales[4][4][kRowsAtOnce];
      transpose4(products, of_blocks);
      transpose4(scales, of_scales);
      for (int64_t b = 0; b < now; ++b)
        sums = _mm_fmadd_ps(_mm_load_ps(of_blocks[b % 4][b / 4]), _mm_load_ps(of_scales[b % 4][b / 4]), sums);
    }
    _mm_mask_storeu_ps(y, static_cast<__mmask8>((1u << n) - 1), sums);
  }
};

}  // namespace
}  // namespace kerf
