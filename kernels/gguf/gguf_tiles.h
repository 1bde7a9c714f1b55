// How the products of GGUF types are cut into tiles, alike on every instruction set. Included by the headers of those;
// everything here is local to the file that includes it.
#pragma once

#include "kernels/gguf/q8_types.h"

namespace kerf {
namespace {

/// A product whose tiles of R rows and T tokens Product::tile<R, T>(w, row, a, t, y, y_stride) computes: tiles of
/// Product::kRows x Product::kTokens while they fit, then single rows and tokens.
template <class Product, class Block>
struct InTiles {
  template <int T>
  static void rows(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a, int64_t t,
                   float* y, int64_t y_stride) {
    constexpr int kRows = Product::kRows;
    int64_t r = row_begin;
    for (; r + kRows <= row_end; r += kRows)
      Product::template tile<kRows, T>(w, r, a, t, y + (r - row_begin), y_stride);
    for (; r < row_end; ++r) Product::template tile<1, T>(w, r, a, t, y + (r - row_begin), y_stride);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    constexpr int kTokens = Product::kTokens;
    const Q8Activations a = q8_activations<Block>(w, activations);
    int64_t t = 0;
    for (; t + kTokens <= tokens; t += kTokens) rows<kTokens>(w, row_begin, row_end, a, t, y + t * y_stride, y_stride);
    for (; t < tokens; ++t) rows<1>(w, row_begin, row_end, a, t, y + t * y_stride, y_stride);
  }
};

/// Memory for n repacked blocks. (Aligned by hand: std::align_val_t would take a header of the standard library, which
/// files of one instruction set do without.)
template <class Block>
struct PanelMemory {
  void* memory;
  Block* blocks;
  explicit PanelMemory(int64_t n)
      : memory(::operator new(static_cast<size_t>(n) * sizeof(Block) + alignof(Block) - 1)),
        blocks(reinterpret_cast<Block*>((reinterpret_cast<uintptr_t>(memory) + alignof(Block) - 1) &
                                        ~(alignof(Block) - 1))) {}
  PanelMemory(const PanelMemory&) = delete;
  PanelMemory& operator=(const PanelMemory&) = delete;
  ~PanelMemory() { ::operator delete(memory); }
};

/// A product by blocks: up to Product::kFewTokens tokens go through Product::few_rows(), Product::kRowsAtOnce rows of
/// one token at a time, more through Product::many_tokens(). Matrices that have another order are left to kOtherwise.
template <class Product, class Block, auto kOtherwise>
struct FewOrMany {
  static void few_tokens(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8Activations& a,
                         int64_t tokens, float* y, int64_t y_stride) {
    constexpr int64_t kRows = Product::kRowsAtOnce;
    for (int64_t r = row_begin; r < row_end; r += kRows)
      for (int64_t t = 0; t < tokens; ++t)
        Product::few_rows(w, r, static_cast<int>(row_end - r < kRows ? row_end - r : kRows), a, t,
                          y + t * y_stride + (r - row_begin));
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    if (Block::order(w.rows) != Q8Order::blocks)
      return kOtherwise(w, row_begin, row_end, activations, tokens, y, y_stride);
    const Q8Activations a = q8_activations<Block>(w, activations);
    if (tokens <= Product::kFewTokens)
      few_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
    else
      Product::many_tokens(w, row_begin, row_end, a, tokens, y, y_stride);
  }
};

}  // namespace
}  // namespace kerf
