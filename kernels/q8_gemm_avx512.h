// Products of GGUF blocks with 8-bit activations on AVX-512 VNNI. dpbusd multiplies unsigned by signed bytes and adds
// four products to each 32-bit lane without saturating, so weights are taken as u = q + zero point, and what that adds
// too much is taken off again (exactly, in integers).
//
// Many tokens: 16 rows are repacked so that the lanes of a vector are rows and each lane holds 4 weights along the row.
// One vector of weights then meets 4 codes of a token, broadcast from memory; kTokens tokens share each load. A panel
// of kChunk blocks is repacked at a time (16 KiB, it stays in the first-level cache), the sums go on in y. Few tokens:
// lanes lie along the row instead, two blocks to a vector, and nothing is repacked.
#pragma once

#include "kernels/gguf_blocks_avx2.h"

namespace kerf {
namespace {

/// Unsigned codes of four blocks, 128 bits each: of their first and of their second 16 weights.
struct FourBlocks {
  __m512i first, second;
};

/// The same 16 bytes of four blocks side by side.
inline __m512i gather16(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d) {
  const auto at = [](const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  const __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(at(a)), at(b), 1);
  const __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(at(c)), at(d), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
}

inline FourBlocks four_blocks(Q8_0Block, const std::byte* a, const std::byte* b, const std::byte* c,
                              const std::byte* d) {
  const __m512i flip = _mm512_set1_epi8(-128);
  return {_mm512_xor_si512(gather16(a + 2, b + 2, c + 2, d + 2), flip),
          _mm512_xor_si512(gather16(a + 18, b + 18, c + 18, d + 18), flip)};
}

inline FourBlocks four_blocks(Q4_0Block, const std::byte* a, const std::byte* b, const std::byte* c,
                              const std::byte* d) {
  const __m512i nibbles = gather16(a + 2, b + 2, c + 2, d + 2), low = _mm512_set1_epi8(15);
  return {_mm512_and_si512(nibbles, low), _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), low)};
}

template <class Block>
struct Q8GemmAvx512 {
  static constexpr int kRows = 16, kChunk = 32;
  // 12 integer and 12 float sums, a weight, a factor and a scale: 27 of the 32 registers.
  static constexpr int kTokens = 12;
  // Up to here, repacking costs more than reading the weights again for each token (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 2;
  // Few tokens: rows that share a load of activations, and blocks whose scales are converted at once.
  static constexpr int kRowsAtOnce = 4, kScalesAtOnce = 16;

  struct alignas(64) Panel {
    uint8_t codes[kChunk][8][kRows][4];
    float scales[kChunk][kRows];
  };

  static void repack(const PackedMatrix& w, int64_t row, int rows, int64_t block_begin, int blocks, Panel& panel) {
    for (int b = 0; b < blocks; ++b) {
      alignas(32) uint16_t scales[kRows] = {};
      for (int half = 0; half < kRows; half += 8) {
        __m256i v[8];
        for (int i = 0; i < 8; ++i) {
          v[i] = _mm256_setzero_si256();
          if (half + i >= rows) continue;
          const std::byte* block = w.codes + (row + half + i) * w.code_stride + (block_begin + b) * Block::kBytes;
          v[i] = Block::unsigned_codes(block);
          scales[half + i] = scale_bits(block);
        }
        transpose8(v);
        for (int k = 0; k < 8; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][k][half]), v[k]);
      }
      _mm512_store_ps(panel.scales[b], _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales))));
    }
  }

  // y[0 .. T)[0 .. 16) = or += the product of the panel with tokens t .. t + T.
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

  static int32_t word(const std::byte* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
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
      const auto mask = static_cast<__mmask16>((1u << rows) - 1);
      for (int64_t b = 0; b < blocks; b += kChunk) {
        const int chunk = static_cast<int>(blocks - b < kChunk ? blocks - b : kChunk);
        repack(w, r, rows, b, chunk, panel);
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t t = g * tokens / groups, end = (g + 1) * tokens / groups;
          tiles[end - t](panel, b, chunk, a, t, y + t * y_stride + (r - row_begin), y_stride, mask);
        }
      }
    }
  }

  // The scales of n <= 16 blocks that lie kBytes apart, 0 beyond.
  static __m512 scales_of(const std::byte* block, int64_t n) {
    alignas(32) uint16_t bits[kScalesAtOnce] = {};
    if (n >= kScalesAtOnce) {  // without a loop, so that no store has to be forwarded to a wider load
      const auto at = [block](int i) { return static_cast<short>(scale_bits(block + i * Block::kBytes)); };
      return _mm512_cvtph_ps(_mm256_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9),
                                               at(10), at(11), at(12), at(13), at(14), at(15)));
    }
    for (int64_t i = 0; i < n; ++i) bits[i] = scale_bits(block + i * Block::kBytes);
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
  }

  template <int R>
  static void dot(const PackedMatrix& w, int64_t row, const std::byte* codes, const float* scales, float* y) {
    const int64_t blocks = w.cols / kQ8Block;
    const __m512i zero_point = _mm512_set1_epi8(static_cast<char>(Block::kZeroPoint));
    const __m512i quarter = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const int64_t ahead = R * w.code_stride;
    const std::byte* rows[R];
    __m512 sums[R];
    for (int i = 0; i < R; ++i) {
      rows[i] = w.codes + (row + i) * w.code_stride;
      sums[i] = _mm512_setzero_ps();
    }
    for (int64_t b0 = 0; b0 < blocks; b0 += kScalesAtOnce) {
      const int64_t n = blocks - b0 < kScalesAtOnce ? blocks - b0 : kScalesAtOnce;
      const __m512 token_scales = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), scales + b0);
      __m512 both[R];
      for (int i = 0; i < R; ++i) both[i] = _mm512_mul_ps(scales_of(rows[i] + b0 * Block::kBytes, n), token_scales);
      for (int64_t b = 0; b < n; b += 4) {
        // Past the end, codes and scales of the token are 0, and the last block of the row stands in.
        const int64_t left = n - b, last = left - 1 < 3 ? left - 1 : 3;
        const std::byte* a = codes + (b0 + b) * kQ8Block;
        const __m512i a01 = _mm512_maskz_loadu_epi64(left > 1 ? 0xff : 0x0f, a);
        const __m512i a23 = _mm512_maskz_loadu_epi64(left > 3 ? 0xff : left > 2 ? 0x0f : 0, a + 64);
        const __m512i first = _mm512_shuffle_i32x4(a01, a23, 0x88), second = _mm512_shuffle_i32x4(a01, a23, 0xdd);
        const __m512i correction = _mm512_sub_epi32(
            _mm512_setzero_si512(), dot8(dot8(_mm512_setzero_si512(), zero_point, first), zero_point, second));
        const __m512i spread = _mm512_add_epi32(quarter, _mm512_set1_epi32(static_cast<int>(b)));
        const int64_t step1 = (last < 1 ? last : 1) * Block::kBytes, step2 = (last < 2 ? last : 2) * Block::kBytes,
                      step3 = last * Block::kBytes;
        for (int i = 0; i < R; ++i) {
          const std::byte* block = rows[i] + (b0 + b) * Block::kBytes;
          _mm_prefetch(block + ahead, _MM_HINT_T1);
          if (Block::kBytes > 18) _mm_prefetch(block + ahead + 64, _MM_HINT_T1);
          const FourBlocks u = four_blocks(Block{}, block, block + step1, block + step2, block + step3);
          const __m512 products = _mm512_cvtepi32_ps(dot8(dot8(correction, u.first, first), u.second, second));
          sums[i] = _mm512_fmadd_ps(products, _mm512_permutexvar_ps(spread, both[i]), sums[i]);
        }
      }
    }
    for (int i = 0; i < R; ++i) y[i] = _mm512_reduce_add_ps(sums[i]);
  }

  static __m512i dot8(__m512i sum, __m512i u, __m512i a) { return _mm512_dpbusd_epi32(sum, u, a); }

  static void few_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a,
                         int64_t tokens, float* y, int64_t y_stride) {
    int64_t r = row_begin;
    for (; r + kRowsAtOnce <= row_end; r += kRowsAtOnce)
      for (int64_t t = 0; t < tokens; ++t)
        dot<kRowsAtOnce>(w, r, a.codes(t), a.scales(t), y + t * y_stride + (r - row_begin));
    for (; r < row_end; ++r)
      for (int64_t t = 0; t < tokens; ++t) dot<1>(w, r, a.codes(t), a.scales(t), y + t * y_stride + (r - row_begin));
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const Q8Activations a = q8_activations(w, activations);
    if (tokens <= kFewTokens)
      few_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
    else
      many_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
  }
};

template <class Block>
constexpr PackedGemm q8_gemm_avx512(std::string_view format) {
  return {.format = format,
          .isa = Isa::avx512,
          .activation_bytes = q8_activation_bytes,
          .round_activations = round_to_q8<Block>,
          .multiply = Q8GemmAvx512<Block>::multiply,
          .dequantize = dequantize_blocks<Block>,
          .activation_values = q8_activation_values};
}

}  // namespace
}  // namespace kerf
