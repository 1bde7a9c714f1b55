// 8-bit floats: value = scale * e4m3(code), one scale for the whole matrix, per row, per group of a row, or per
// rectangle of rows and columns whose last ones may be cut off by the matrix's edges. The grid of FP8 checkpoints
// (compressed-tensors, vLLM, DeepSeek); NaN codes are never written.
// Source of the codes: OCP 8-bit Floating Point Specification 1.0, E4M3 (no infinity, largest value 448).
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/block_grid.h"
#include "grids/search/fp8_search.h"

namespace kerf {
namespace {

constexpr uint32_t kSign = 0x80, kLargest = 0x7e;  // the code of 448; one more is NaN

const Fp8Search& fastest_search() { return fastest(all_fp8_searches()); }

// The scales of a matrix and what each covers.
struct Tiling {
  int64_t rows, cols;  // of a block
  const ParamArray& scales;
  explicit Tiling(const QuantizedMatrix& q)
      : rows(q.scheme.levels[0].block.rows ? q.scheme.levels[0].block.rows : q.rows),
        cols(q.scheme.levels[0].block.cols ? q.scheme.levels[0].block.cols : q.cols),
        scales(q.params[0]) {}

  // visit(row, first column, weights, scale) for every part of a row that has one scale.
  template <class Visit>
  void for_each_part(const QuantizedMatrix& q, const Visit& visit) const {
    std::vector<float> values(static_cast<size_t>(scales.rows * scales.cols));
    to_f32(scales.stored, scales.bytes, values);
    for (int64_t r = 0; r < q.rows; ++r)
      for (int64_t c = 0; c < q.cols; c += cols)
        visit(r, c, std::min(cols, q.cols - c), values[static_cast<size_t>(r / rows * scales.cols + c / cols)]);
  }
};

class Fp8Grid final : public Grid {
 public:
  std::string_view name() const override { return "fp8"; }

  void check(const Scheme& s) const override {
    const auto refuse = [&](const char* rule) {
      fail(ErrorKind::unsupported, "'{}' is not an fp8 scheme: {}", describe(s), rule);
    };
    if (s.grid != "fp8" || s.codeword != 1) refuse("every weight by itself on the grid 'fp8'");
    if (s.bits != 8) refuse("codes have 8 bits");
    if (s.levels.size() != 1 || s.levels[0].offset) refuse("one level of scales and no zero points");
    const Level& scale = s.levels[0];
    if (scale.block.rows < 0 || scale.block.cols < 0) refuse("a block has as many rows and columns, or 0 for all");
    if (scale.stored != Dtype::f16 && scale.stored != Dtype::bf16 && scale.stored != Dtype::f32)
      refuse("scales are stored as F16, BF16 or F32");
  }

  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override {
    const Tiling tiles(q);
    ParamArray& scales = q.params[0];
    const std::vector<float> even = evened_by_block(importance, tiles.cols);
    for (int64_t i = 0; i < scales.rows; ++i)
      for (int64_t j = 0; j < scales.cols; ++j) {
        const int64_t r = i * tiles.rows, c = j * tiles.cols;
        const Fp8Block block{.w = w.data() + r * q.cols + c,
                             .rows = std::min(tiles.rows, q.rows - r),
                             .cols = std::min(tiles.cols, q.cols - c),
                             .stride = q.cols,
                             .importance = even.empty() ? nullptr : even.data() + c};
        const float scale = stored_scale(block, scales.stored);
        if (!std::isfinite(scale)) refuse_large(r, scales.stored);
        scales.set(i, j, scale);
      }
  }

  void encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float>) const override {
    const Fp8Search& scales = fastest_search();
    Tiling(q).for_each_part(q, [&](int64_t r, int64_t c, int64_t n, float scale) {
      scales.encode(w.data() + r * q.cols + c, scale, n, q.code_row(r).data() + c);
    });
  }

  void decode(const QuantizedMatrix& q, std::span<float> w) const override {
    Tiling(q).for_each_part(q, [&](int64_t r, int64_t c, int64_t n, float scale) {
      const uint8_t* codes = q.code_row(r).data() + c;
      float* out = w.data() + r * q.cols + c;
      for (int64_t j = 0; j < n; ++j) out[j] = scale * f8_e4m3_to_f32(codes[j]);
    });
  }

  ScaleOffset effective(const QuantizedMatrix& q, int64_t row, int64_t col) const override {
    const Tiling tiles(q);
    return {q.params[0].get(row / tiles.rows, col / tiles.cols), 0};
  }

  void set(QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset e) const override {
    const Tiling tiles(q);
    q.params[0].set(row / tiles.rows, col / tiles.cols, e.scale);
  }

  ScaleOffset project(const QuantizedMatrix& q, int64_t, int64_t, ScaleOffset wanted) const override {
    return {round_to(q.scheme.levels[0].stored, wanted.scale), 0};
  }

  uint32_t nearest(const Scheme&, ScaleOffset e, float x) const override {
    return e.scale != 0.0f ? f32_to_f8_e4m3(x / e.scale) : 0;
  }

  float value(const Scheme&, ScaleOffset e, uint32_t code) const override {
    return e.scale * f8_e4m3_to_f32(static_cast<uint8_t>(code));
  }

  // Codes are sign and magnitude; both zeros have the same neighbours.
  Neighbours neighbours(const Scheme&, ScaleOffset e, uint32_t code) const override {
    const uint32_t magnitude = code & ~kSign;
    const uint32_t away = (code & kSign) | std::min(magnitude + 1, kLargest);
    Neighbours n;
    if (magnitude == 0)
      n = {kSign | 1, 1};
    else if (code & kSign)
      n = {away, code - 1};
    else
      n = {code - 1, away};
    return e.scale < 0 ? Neighbours{n.above, n.below} : n;
  }

 private:
  // The better of the searched scale and of the one that the largest weight dictates, both in their stored form.
  static float stored_scale(const Fp8Block& block, Dtype stored) {
    const Fp8Search& scales = fastest_search();
    const Fp8Search::Found found = scales.search(block);
    const float plain = round_to(stored, found.plain), searched = round_to(stored, found.best);
    if (searched == plain || !std::isfinite(searched)) return plain;
    return scales.error(block, searched) < scales.error(block, plain) ? searched : plain;
  }
};

}  // namespace

const Grid& grid_fp8() {
  static const Fp8Grid grid;
  return grid;
}

}  // namespace kerf
