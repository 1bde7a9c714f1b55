// Q8_0 on AVX-512 VNNI. Many tokens: 16 rows are repacked so that the lanes of a vector are rows and each 32-bit lane
// holds 4 weights along the row, those of one lane of the definition (q8_gemm_ref.h); a tile keeps its 8 vectors of
// sums for each of kTokens tokens in registers. Weights are taken as u = q + 128, and what that adds too much comes
// with the activations. Few tokens: as they lie (gguf_lanes_avx512.h).
#include "kernels/gguf_lanes_avx512.h"

namespace kerf {
namespace {

constexpr int kLanes = 8;  // of the definition
constexpr int kRows = 16;
// 24 sums, 3 scales, weights and products: 30 of the 32 registers.
constexpr int kTokens = 3;
// Up to here, repacking costs more than it saves (bench/kernels_bench.cc).
constexpr int64_t kFewTokens = 8;

struct alignas(64) PanelBlock {
  uint8_t codes[kLanes][kRows][4];
  float scales[kRows];
};

/// The blocks of 16 rows: two thirds more bytes than they have in the file. (Aligned by hand: std::align_val_t would
/// take a header of the standard library, which files of one instruction set do without.)
struct Panel {
  void* memory;
  PanelBlock* blocks;
  explicit Panel(int64_t n)
      : memory(::operator new(static_cast<size_t>(n) * sizeof(PanelBlock) + alignof(PanelBlock) - 1)),
        blocks(reinterpret_cast<PanelBlock*>((reinterpret_cast<uintptr_t>(memory) + alignof(PanelBlock) - 1) &
                                             ~(alignof(PanelBlock) - 1))) {}
  Panel(const Panel&) = delete;
  Panel& operator=(const Panel&) = delete;
  ~Panel() { ::operator delete(memory); }
};

void repack(const PackedMatrix& w, int64_t row, int rows, PanelBlock& out, int64_t b) {
  alignas(32) uint16_t scales[kRows] = {};
  for (int half = 0; half < kRows; half += 8) {
    __m256i v[8];
    for (int i = 0; i < 8; ++i) {
      v[i] = _mm256_setzero_si256();
      if (half + i >= rows) continue;
      const std::byte* block = w.codes + (row + half + i) * w.code_stride + b * Q8_0Block::kBytes;
      v[i] = Q8_0Block::unsigned_codes(block);
      scales[half + i] = scale_bits(block);
    }
    transpose8(v);
    for (int k = 0; k < kLanes; ++k) _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes[k][half]), v[k]);
  }
  _mm512_store_ps(out.scales, _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales))));
}

__m512i everywhere(const std::byte* word) {
  int32_t v;
  __builtin_memcpy(&v, word, 4);
  return _mm512_set1_epi32(v);
}

template <int T>
void tile(const PanelBlock* panel, int64_t blocks, const Q8Activations& a, int64_t t, float* y, int64_t y_stride,
          __mmask16 rows) {
  __m512 sums[T][kLanes];
  for (int i = 0; i < T; ++i)
    for (int k = 0; k < kLanes; ++k) sums[i][k] = _mm512_setzero_ps();
  const std::byte* codes = a.codes(t);
  const std::byte* scales = reinterpret_cast<const std::byte*>(a.scales(t));
  const std::byte* corrections = reinterpret_cast<const std::byte*>(a.corrections(t));
  const int64_t stride = a.bytes;
  for (int64_t b = 0; b < blocks; ++b, ++panel, codes += kQ8Block, scales += 4, corrections += kLanes * 4) {
    const __m512 row_scales = _mm512_load_ps(panel->scales);
    __m512 both[T];
    for (int i = 0; i < T; ++i)
      both[i] = _mm512_mul_ps(row_scales, _mm512_castsi512_ps(everywhere(scales + i * stride)));
    for (int k = 0; k < kLanes; ++k) {
      const __m512i u = _mm512_load_si512(panel->codes[k]);
      for (int i = 0; i < T; ++i) {
        const __m512i products = _mm512_dpbusd_epi32(everywhere(corrections + i * stride + k * 4), u,
                                                     everywhere(codes + i * stride + k * 4));
        sums[i][k] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), both[i], sums[i][k]);
      }
    }
  }
  for (int i = 0; i < T; ++i) {
    for (int k = 0; k < 4; ++k) sums[i][k] = _mm512_add_ps(sums[i][k], sums[i][k + 4]);
    for (int k = 0; k < 2; ++k) sums[i][k] = _mm512_add_ps(sums[i][k], sums[i][k + 2]);
    _mm512_mask_storeu_ps(y + i * y_stride, rows, _mm512_add_ps(sums[i][0], sums[i][1]));
  }
}

void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations, int64_t tokens,
              float* y, int64_t y_stride) {
  if (tokens <= kFewTokens)
    return LanesAvx512<Q8_0Block>::multiply(w, row_begin, row_end, activations, tokens, y, y_stride);
  using Tile = void (*)(const PanelBlock*, int64_t, const Q8Activations&, int64_t, float*, int64_t, __mmask16);
  static constexpr Tile tiles[kTokens + 1] = {nullptr, tile<1>, tile<2>, tile<3>};
  const Q8Activations a = q8_activations<Q8_0Block>(w, activations);
  const int64_t blocks = w.cols / kQ8Block;
  const Panel panel(blocks);
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

}  // namespace

const PackedGemm& gemm_q8_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q8_0Block, multiply>("Q8_0", Isa::avx512);
  return gemm;
}

}  // namespace kerf
