// Products of GGUF blocks with 8-bit activations on AVX2. Many tokens: 16 rows are repacked so that the lanes of two
// vectors are rows and each lane holds the next few weights along the row; kTokens tokens share each load. Few tokens:
// lanes lie along the row, and nothing is repacked. How codes are multiplied depends on their range (Products).
#pragma once

#include "kernels/gguf_blocks_avx2.h"

namespace kerf {
namespace {

/// A block's products take kSteps steps; a step takes 32-bit lanes of weights and of activations, the same for all
/// rows.
template <class Block>
struct Products;

/// Full bytes: widened to 16 bits, two per lane. The 8-bit maddubs would saturate at 2 x 128 x 128.
template <>
struct Products<Q8_0Block> {
  static constexpr int kSteps = 16;
  static __m256i widened(__m128i unsigned_codes) {
    return _mm256_sub_epi16(_mm256_cvtepu8_epi16(unsigned_codes), _mm256_set1_epi16(128));
  }
  /// The steps of one row: step k is lane k % 8 of parts[k / 8].
  static void weights(__m256i u, __m256i* parts) {
    parts[0] = widened(_mm256_castsi256_si128(u));
    parts[1] = widened(_mm256_extracti128_si256(u, 1));
  }
  static void activations(const std::byte* codes, std::byte* steps) {
    const auto* a = reinterpret_cast<const __m128i*>(codes);
    auto* out = reinterpret_cast<__m256i*>(steps);
    _mm256_store_si256(out, _mm256_cvtepi8_epi16(_mm_loadu_si128(a)));
    _mm256_store_si256(out + 1, _mm256_cvtepi8_epi16(_mm_loadu_si128(a + 1)));
  }
  static __m256i add(__m256i sum, __m256i w, __m256i a) { return _mm256_add_epi32(sum, _mm256_madd_epi16(w, a)); }
  static __m256i finish(__m256i sum, int32_t) { return sum; }

  /// The same for 8 lanes along one row.
  struct Along {
    __m256i a[2];
    explicit Along(const std::byte* codes) { activations(codes, reinterpret_cast<std::byte*>(a)); }
    __m256i product(__m256i u) const {
      __m256i w[2];
      weights(u, w);
      return _mm256_add_epi32(_mm256_madd_epi16(w[0], a[0]), _mm256_madd_epi16(w[1], a[1]));
    }
  };
};

/// Nibbles 0 .. 15: maddubs multiplies them as unsigned bytes, four per lane in two 16-bit sums that hold a whole block
/// (8 steps x 2 x 15 x 128 = 30720).
template <>
struct Products<Q4_0Block> {
  static constexpr int kSteps = 8;
  static void weights(__m256i u, __m256i* parts) { parts[0] = u; }
  static void activations(const std::byte* codes, std::byte* steps) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(steps), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  }
  static __m256i add(__m256i sum, __m256i w, __m256i a) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, a)); }
  static __m256i finish(__m256i sum, int32_t correction) {
    return _mm256_add_epi32(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)), _mm256_set1_epi32(correction));
  }

  struct Along {
    __m256i a, excess;  // excess: what the zero point adds to each lane
    explicit Along(const std::byte* codes) {
      a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
      excess = pairs(_mm256_set1_epi8(Q4_0Block::kZeroPoint));
    }
    __m256i pairs(__m256i u) const { return _mm256_madd_epi16(_mm256_maddubs_epi16(u, a), _mm256_set1_epi16(1)); }
    __m256i product(__m256i u) const { return _mm256_sub_epi32(pairs(u), excess); }
  };
};

template <class Block>
struct Q8GemmAvx2 {
  using P = Products<Block>;
  static constexpr int kRows = 16, kChunk = 16;  // at most 16 KiB of weights, which the first-level cache holds
  // 6 integer sums, two weights, a factor and products in the 16 registers; g++ 12 spills a sum when there are 8. The
  // float sums are touched once a block.
  static constexpr int kTokens = 3;
  // Up to here, repacking costs more than reading the weights again for each token (bench/kernels_bench.cc).
  static constexpr int64_t kFewTokens = 2;
  static constexpr int kRowsAtOnce = 4;

  struct alignas(32) Panel {
    std::byte codes[kChunk][P::kSteps][kRows][4];
    float scales[kChunk][kRows];
  };
  struct alignas(32) Tokens {
    std::byte codes[kTokens][kChunk][P::kSteps][4];
    float scales[kTokens][kChunk];
    int32_t corrections[kTokens][kChunk];
  };

  static void repack(const PackedMatrix& w, int64_t row, int rows, int64_t block_begin, int blocks, Panel& panel) {
    constexpr int kParts = P::kSteps / 8;
    for (int b = 0; b < blocks; ++b) {
      for (int half = 0; half < kRows; half += 8) {
        __m256i parts[kParts][8];
        for (int i = 0; i < 8; ++i) {
          __m256i u = _mm256_set1_epi8(static_cast<char>(Block::kZeroPoint));
          panel.scales[b][half + i] = 0;
          if (half + i < rows) {
            const std::byte* block = w.codes + (row + half + i) * w.code_stride + (block_begin + b) * Block::kBytes;
            u = Block::unsigned_codes(block);
            panel.scales[b][half + i] = block_scale(block);
          }
          __m256i of_row[kParts];
          P::weights(u, of_row);
          for (int part = 0; part < kParts; ++part) parts[part][i] = of_row[part];
        }
        for (int part = 0; part < kParts; ++part) {
          transpose8(parts[part]);
          for (int k = 0; k < 8; ++k)
            _mm256_store_si256(reinterpret_cast<__m256i*>(panel.codes[b][part * 8 + k][half]), parts[part][k]);
        }
      }
    }
  }

  // Tokens past the last repeat it; their results are not used.
  static void gather(const Q8Activations& a, int64_t t, int n, int64_t block_begin, int blocks, Tokens& tokens) {
    for (int i = 0; i < kTokens; ++i) {
      const int64_t from = t + (i < n ? i : n - 1);
      for (int b = 0; b < blocks; ++b) {
        P::activations(a.codes(from) + (block_begin + b) * kQ8Block, tokens.codes[i][b][0]);
        tokens.scales[i][b] = a.scales(from)[block_begin + b];
        tokens.corrections[i][b] = a.corrections(from)[block_begin + b];
      }
    }
  }

  static void tile(const Panel& panel, int blocks, const Tokens& tokens, __m256 (&sums)[kTokens][2]) {
    for (int b = 0; b < blocks; ++b) {
      __m256i products[kTokens][2];
      for (int i = 0; i < kTokens; ++i) products[i][0] = products[i][1] = _mm256_setzero_si256();
      for (int k = 0; k < P::kSteps; ++k) {
        const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][0]));
        const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel.codes[b][k][8]));
        for (int i = 0; i < kTokens; ++i) {
          int32_t lane;
          __builtin_memcpy(&lane, tokens.codes[i][b][k], 4);
          const __m256i a = _mm256_set1_epi32(lane);
          products[i][0] = P::add(products[i][0], w0, a);
          products[i][1] = P::add(products[i][1], w1, a);
        }
      }
      for (int i = 0; i < kTokens; ++i) {
        const __m256 token_scale = _mm256_set1_ps(tokens.scales[i][b]);
        for (int half = 0; half < 2; ++half) {
          const __m256 scale = _mm256_mul_ps(_mm256_load_ps(panel.scales[b] + half * 8), token_scale);
          const __m256i product = P::finish(products[i][half], tokens.corrections[i][b]);
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

  template <int R>
  static void dot(const PackedMatrix& w, int64_t row, const std::byte* codes, const float* scales, float* y) {
    __m256 sums[R];
    for (int i = 0; i < R; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < w.cols / kQ8Block; ++b) {
      const typename P::Along a(codes + b * kQ8Block);
      for (int i = 0; i < R; ++i) {
        const std::byte* block = w.codes + (row + i) * w.code_stride + b * Block::kBytes;
        const __m256 scale = _mm256_set1_ps(block_scale(block) * scales[b]);
        const __m256i products = a.product(Block::unsigned_codes(block));
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
