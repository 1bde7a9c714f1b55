// Products by lanes in the orders that few types have (q8_gemm_ref.h): paired, nested, and with two scales per chunk.
// One tile of rows and tokens at a time; Sums says how a chunk's products and scales are added up.
#pragma once

#include "kernels/gguf/gguf_blocks_avx2.h"
#include "kernels/gguf/gguf_tiles.h"

namespace kerf {
namespace {

/// Lanes 0 .. 3 belong to one scale, lanes 4 .. 7 to another.
template <class Block>
struct HalvedSums {
  __m256 sum = _mm256_setzero_ps();
  void add(const std::byte* block, int64_t chunk, bool, __m256 products, float scale) {
    const int64_t k = chunk * kQ8Block;
    const __m256 scales =
        _mm256_set_m128(_mm_set1_ps(Block::scale(block, k + 16)), _mm_set1_ps(Block::scale(block, k)));
    sum = _mm256_fmadd_ps(_mm256_mul_ps(scales, _mm256_set1_ps(scale)), products, sum);
  }
  float total() const { return sum_of(sum); }
};

/// Chunks of one block are added up with the tokens' scales, and then scaled.
template <class Block>
struct NestedSums {
  __m256 sum = _mm256_setzero_ps(), of_block = _mm256_setzero_ps();
  void add(const std::byte* block, int64_t chunk, bool, __m256 products, float scale) {
    const __m256 s = _mm256_set1_ps(scale);
    of_block = chunk == 0 ? _mm256_mul_ps(s, products) : _mm256_fmadd_ps(s, products, of_block);
    if (chunk == Block::kWeights / kQ8Block - 1)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(Block::scale(block)), of_block, sum);
  }
  float total() const { return sum_of(sum); }
};

/// The same without lanes.
template <class Block>
struct NestedBlockSums {
  __m128 sum = _mm_setzero_ps(), of_block = _mm_setzero_ps();
  void add(const std::byte* block, int64_t chunk, bool, __m256 products, float scale) {
    if (chunk == 0) of_block = _mm_setzero_ps();
    // Integers far below 2^24: their sum is exact in any order.
    of_block = _mm_fmadd_ss(_mm_set_ss(scale), _mm_set_ss(sum_of(products)), of_block);
    if (chunk == Block::kWeights / kQ8Block - 1) sum = _mm_fmadd_ss(_mm_set_ss(Block::scale(block)), of_block, sum);
  }
  float total() const { return _mm_cvtss_f32(sum); }
};

/// Even and odd blocks apart; an even one that is left over comes last, as a whole.
template <class Block>
struct PairedSums {
  __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  int next = 0;
  float last = 0, last_scale = 0;
  void add(const std::byte* block, int64_t, bool is_last, __m256 products, float scale) {
    const float s = Block::scale(block) * scale;
    if (is_last && next == 0) {
      last = sum_of(products);  // exact, as above
      last_scale = s;
      return;
    }
    sums[next] = _mm256_fmadd_ps(_mm256_set1_ps(s), products, sums[next]);
    next = 1 - next;
  }
  float total() const {
    const __m128 sum = _mm_set_ss(sum_of(_mm256_add_ps(sums[0], sums[1])));
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(last_scale), _mm_set_ss(last), sum));
  }
};

template <class Block, class Sums>
struct RareLanesAvx2 : InTiles<RareLanesAvx2<Block, Sums>, Block> {
  static constexpr int kRows = 2, kTokens = 2;

  template <int R, int T>
  static void tile(const PackedMatrix& w, int64_t row, const Q8Activations& a, int64_t t, float* y, int64_t y_stride) {
    constexpr int64_t kChunks = Block::kWeights / kQ8Block;
    const int64_t chunks = w.cols / kQ8Block;
    Sums sums[R][T];
    for (int64_t c = 0; c < chunks; ++c) {
      Widened codes[T];
      for (int j = 0; j < T; ++j) codes[j] = Widened(bytes_at(a.codes(t + j) + c * kQ8Block));
      for (int i = 0; i < R; ++i) {
        const std::byte* from = w.codes + (row + i) * w.code_stride;
        const Widened q(codes_of_chunk<Block>(from, c));
        for (int j = 0; j < T; ++j)
          sums[i][j].add(from + c / kChunks * Block::kBytes, c % kChunks, c + 1 == chunks,
                         _mm256_cvtepi32_ps(products_of_fours(q, codes[j])), a.scales(t + j)[c]);
      }
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < T; ++j) y[j * y_stride + i] = sums[i][j].total();
  }
};

}  // namespace
}  // namespace kerf
