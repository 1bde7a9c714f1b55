// The grids of GGUF's IQ1, IQ2 and IQ3 types (codebook_words): groups of weights whose numbers are chosen together.
// Source of the formulas: ggml-quants.c of llama.cpp.
#pragma once

#include "grids/block_grid.h"
#include "grids/search/codebook.h"

namespace kerf {

class CodebookGrid final : public BlockGrid {
 public:
  /// `scheme` is the only one of this grid; value = d (2 s + 1) unit number[code].
  CodebookGrid(std::string_view name, Scheme scheme, float unit);
  void check(const Scheme&) const override;
  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override;
  void fit_and_encode(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override;
  void encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float> importance = {}) const override;
  ScaleOffset effective(const QuantizedMatrix&, int64_t row, int64_t col) const override;
  /// The delta of a block, which is the sign of its scale, stays as it is.
  ScaleOffset project(const QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset wanted) const override;
  void set(QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset) const override;
  void round_words(const Scheme&, const float* scale, const float* x, const float* importance, int64_t n,
                   uint8_t* codes, float* values) const override;

 protected:
  Blocks blocks(const QuantizedMatrix&) const override;

 private:
  float scale_of(float d, int stored) const;
  int step_of(float scale, float d) const;

  Scheme scheme_;
  const Codebook& book_;
  float unit_;
  int steps_;  // the largest s
};

}  // namespace kerf
