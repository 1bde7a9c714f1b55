// A compressed matrix in the form that every quantizer yields and every layout takes.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "grids/scheme.h"

namespace kerf {

/// One array of a scheme's parameters, row-major, in the very bytes that the file stores.
struct ParamArray {
  Dtype stored = Dtype::f16;
  int64_t rows = 0, cols = 0;
  std::vector<std::byte> bytes;

  float get(int64_t r, int64_t c) const;
  /// Rounds x to the stored type. For U8 and I8 x must be an integer of theirs.
  void set(int64_t r, int64_t c, float x);
  bool operator==(const ParamArray&) const = default;
};

/// Which weights of a matrix are pruned, that is, exactly zero: [rows, cols] row-major, 1 where a weight is zero and 0
/// where it is free. A byte each, so that threads can write rows side by side.
struct Mask {
  std::vector<uint8_t> zero;
  bool operator==(const Mask&) const = default;
};

struct QuantizedMatrix {
  Scheme scheme;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;      // [rows, cols], each 0 ... 2^bits - 1
  std::vector<ParamArray> params;  // one per level
  /// Every masked weight has the code of zero, so layouts need not (and do not) store the mask: the weights decode to 0
  /// without it, and a matrix that comes back from a layout has none.
  std::optional<Mask> mask = std::nullopt;
  bool operator==(const QuantizedMatrix&) const = default;

  std::span<uint8_t> code_row(int64_t r) {
    const size_t n = static_cast<size_t>(cols);
    return std::span(codes).subspan(static_cast<size_t>(r) * n, n);
  }
  std::span<const uint8_t> code_row(int64_t r) const {
    const size_t n = static_cast<size_t>(cols);
    return std::span(codes).subspan(static_cast<size_t>(r) * n, n);
  }
};

/// All codes and parameters zero. A group of one row divides the row (Error unsupported otherwise, choices named);
/// blocks of several rows are cut off at the edges.
QuantizedMatrix allocate(const Scheme&, int64_t rows, int64_t cols);

/// Rows [begin, end) with the parameters that cover them. `begin` begins a block of each level that does not cover all
/// rows.
QuantizedMatrix rows_of(const QuantizedMatrix&, int64_t begin, int64_t end);

/// Whether each row has parameters of its own, or shares those of all.
bool has_separate_rows(const Scheme&);
/// Row k is row order[k] of q: `order` is a permutation, and where the scheme has no separate rows the one that changes
/// nothing.
QuantizedMatrix rows_in(const QuantizedMatrix& q, std::span<const int64_t> order);

/// Parameters of `part`, whose levels divide rows, become those of q from (row, col) on, where a block of each begins.
void set_parameters(QuantizedMatrix& q, int64_t row, int64_t col, const QuantizedMatrix& part);

}  // namespace kerf
