// Products of GGUF blocks with 8-bit activations on AVX2, in 16-bit integers: madd_epi16 multiplies them exactly and
// adds two products to each 32-bit lane, while the 8-bit maddubs would saturate at 2 x 128 x 128.
//
// Many tokens: 16 rows are repacked so that the lanes of two vectors are rows and each lane holds 2 weights along the
// row; kTokens rows of activations are widened likewise. Few tokens: lanes lie along the row, and nothing is repacked.
#pragma once

#include "kernels/gguf_blocks_avx2.h"

namespace kerf {
namespace {

template <class Block>
struct Q8GemmAvx2 {
  static constexpr int kRows = 16, kChunk = 16;  // 16 KiB of widened weights
  // 8 integer sums, two weights, a factor and a product in the 16 registers; the float sums are touched once a block.
  static constexpr int kTokens = 4;
  // Up to here, repacking costs more than reading the weights again for each token.
  static constexpr int64_t kFewTokens = 3;
  static constexpr int kRowsAtOnce = 4;

  struct alignas(32) Panel {
    int16_t codes[kChunk][16][kRows][2];
    float scales[kChunk][kRows];
  };
  struct alignas(32) Tokens {
    int16_t codes[kTokens][kChunk * kQ8Block];
    float scales[kTokens][kChunk];
  };

  static __m256i widened(__m128i unsigned_codes) {
    return _mm256_sub_epi16(_mm256_cvtepu8_epi16(unsigned_codes), _mm256_set1_epi16(Block::kZeroPoint));
  }

  static void repack(const PackedMatrix& w, int64_t row, int rows, int64_t block_begin, int blocks, Panel& panel) {
    for (int b = 0; b < blocks; ++b) {
      for (int half = 0; half < kRows; half += 8) {
        __m256i first[8], second[8];
        for (int i = 0; i < 8; ++i) {
          first[i] = second[i] = _mm256_setzero_si256();
          panel.scales[b][half + i] = 0;
          if (half + i >= rows) continue;
          const std::byte* block = w.codes + (row + half + i) * w.code_stride + (block_begin + b) * Block::kBytes;
          const __m256i u = Block::unsigned_codes(block);
          first[i] = widened(_mm256_castsi256_si128(u));
          second[i] = widened(_mm256_extracti128_si256(u, 1));
          panel.scales[b][half + i] = block_scale(block);
        }
        transpose8(first);
        transpose8(second);
        for (int k = 0; k < 8; ++k) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][k][half]), first[k]);
          _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][8 + k][half]), second[k]);
        }
      }
    }
  }

  // Tokens past the last repeat it; their results are not used.
  static void widen(const Q8Activations& a, int64_t t, int n, int64_t block_begin, int blocks, Tokens& tokens) {
    for (int i = 0; i < kTokens; ++i) {
      const int64_t from = t + (i < n ? i : n - 1);
      const std::byte* codes = a.codes(from) + block_begin * kQ8Block;
      for (int k = 0; k < blocks * kQ8Block; k += 16)
        _mm256_store_si256(reinterpret_cast<__m256i*>(tokens.codes[i] + k),
                           _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + k))));
      for (int b = 0; b < blocks; ++b) tokens.scales[i][b] = a.scales(from)[block_begin + b];
    }
  }

  static void tile(const Panel& panel, int blocks, const Tokens& tokens, __m256 (&sums)[kTokens][2]) {
    for (int b = 0; b < blocks; ++b) {
      __m256i products[kTokens][2];
      for (int i = 0; i < kTokens; ++i) products[i][0] = products[i][1] = _mm256_setzero_si256();
      for (int k = 0; k < 16; ++k) {
        const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][0]));
        const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][8]));
        for (int i = 0; i < kTokens; ++i) {
          int32_t two;
          __builtin_memcpy(&two, tokens.codes[i] + b * kQ8Block + k * 2, 4);
          const __m256i a = _mm256_set1_epi32(two);
          products[i][0] = _mm256_add_epi32(products[i][0], _mm256_madd_epi16(w0, a));
          products[i][1] = _mm256_add_epi32(products[i][1], _mm256_madd_epi16(w1, a));
        }
      }
      for (int i = 0; i < kTokens; ++i) {
        const __m256 token_scale = _mm256_set1_ps(tokens.scales[i][b]);
        for (int half = 0; half < 2; ++half) {
          const __m256 scale = _mm256_mul_ps(_mm256_load_ps(panel.scales[b] + half * 8), token_scale);
          sums[i][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[i][half]), scale, sums[i][half]);
        }
      }
    }
  }

  static void many_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a,
                          int64_t tokens, float* y, int64_t y_stride) {
    Panel panel;
    Tokens widened_tokens;
    const int64_t blocks = w.cols / kQ8Block;
    for (int64_t r = row_begin; r < row_end; r += kRows) {
      const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
      for (int64_t b = 0; b < blocks; b += kChunk) {
        const int chunk = static_cast<int>(blocks - b < kChunk ? blocks - b : kChunk);
        repack(w, r, rows, b, chunk, panel);
        for (int64_t t = 0; t < tokens; t += kTokens) {
          const int n = static_cast<int>(tokens - t < kTokens ? tokens - t : kTokens);
          widen(a, t, n, b, chunk, widened_tokens);
          alignas(32) float part[kTokens][kRows] = {};
          float* out = y + t * y_stride + (r - row_begin);
          if (b > 0)
            for (int i = 0; i < n; ++i)
              for (int j = 0; j < rows; ++j) part[i][j] = out[i * y_stride + j];
          __m256 sums[kTokens][2];
          for (int i = 0; i < kTokens; ++i)
            for (int half = 0; half < 2; ++half) sums[i][half] = _mm256_load_ps(part[i] + half * 8);
          tile(panel, chunk, widened_tokens, sums);
          for (int i = 0; i < kTokens; ++i)
            for (int half = 0; half < 2; ++half) _mm256_store_ps(part[i] + half * 8, sums[i][half]);
          for (int i = 0; i < n; ++i)
            for (int j = 0; j < rows; ++j) out[i * y_stride + j] = part[i][j];
        }
      }
    }
  }

  template <int R>
  static void dot(const PackedMatrix& w, int64_t row, const std::byte* codes, const float* scales, float* y) {
    __m256 sums[R];
    for (int i = 0; i < R; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < w.cols / kQ8Block; ++b) {
      const auto* a = reinterpret_cast<const __m128i*>(codes + b * kQ8Block);
      const __m256i a0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(a)), a1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(a + 1));
      for (int i = 0; i < R; ++i) {
        const std::byte* block = w.codes + (row + i) * w.code_stride + b * Block::kBytes;
        const __m256i u = Block::unsigned_codes(block);
        const __m256i products = _mm256_add_epi32(_mm256_madd_epi16(widened(_mm256_castsi256_si128(u)), a0),
                                                  _mm256_madd_epi16(widened(_mm256_extracti128_si256(u, 1)), a1));
        const __m256 scale = _mm256_set1_ps(block_scale(block) * scales[b]);
        sums[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, sums[i]);
      }
    }
    for (int i = 0; i < R; ++i) y[i] = sum_of(sums[i]);
  }

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
constexpr PackedGemm q8_gemm_avx2(std::string_view format) {
  return {.format = format,
          .isa = Isa::avx2,
          .activation_bytes = q8_activation_bytes,
          .round_activations = round_to_q8<Block>,
          .multiply = Q8GemmAvx2<Block>::multiply,
          .dequantize = dequantize_blocks<Block>,
          .activation_values = q8_activation_values};
}

}  // namespace
}  // namespace kerf
