#include "grids/one_level_grid.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/search/block_search.h"

namespace kerf {
namespace {

struct FreeAligned {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};

// Types of one byte hold no negative scale; the last code of E8M0 and E4M3 is NaN.
float stored(const FlatFitProblem& p, float x, int steps) {
  if (bits_of(p.type) > 8) return round_to(p.type, x);
  float raw = std::max(x, 0.0f);
  std::byte code;
  from_f32(p.type, {&raw, 1}, {&code, 1});
  const int last = p.type == Dtype::f8_e8m0 ? 0xfe : 0x7e;
  if (p.type == Dtype::f8_e4m3 && raw >= 464.0f) return INFINITY;  // past 448 and half a step
  code = static_cast<std::byte>(std::clamp(std::to_integer<int>(code) + steps, 0, last));
  to_f32(p.type, {&code, 1}, {&raw, 1});
  return raw;
}

FlatFitProblem problem(const Scheme& s, const LevelTable* level_table) {
  // E4M3 has eight scales to an octave, E8M0 one: the best may be the second nearest.
  const bool bytes = bits_of(s.levels[0].stored) == 8;
  return {
      .bits = s.bits, .level_table = level_table, .stored = stored, .type = s.levels[0].stored, .steps = bytes ? 1 : 0};
}

}  // namespace

void OneLevelGrid::check(const Scheme& s) const {
  const auto refuse = [&](const char* rule) {
    fail(ErrorKind::unsupported, "'{}' is no scheme of the grid '{}': {}", describe(s), name(), rule);
  };
  if (s.grid != name() || s.codeword != 1) refuse("every weight by itself");
  if (s.levels.size() != (level_table() ? 1u : 2u) || s.levels[0].offset ||
      adds_offset(s) == (level_table() != nullptr))
    refuse(level_table() ? "one level of scales" : "scales, and offsets that are added");
  const Level& scale = s.levels[0];
  if (scale.block.rows != 1 || scale.block.cols <= 0 || scale.block.cols % kFlatLanes != 0)
    refuse("blocks of a multiple of 16 weights of a row");
  if (level_table()) {
    if (1u << s.bits < level_table()->number.size()) refuse("codes have room for all numbers");
  } else if (s.bits < 2 || s.bits > 8 || s.levels[1].block != scale.block || s.levels[1].stored != scale.stored) {
    refuse("2 to 8 bits, and offsets of the type and blocks of the scales");
  }
  const auto stored_as = [&](Dtype t) { return scale.stored == t; };
  const bool bytes = stored_as(Dtype::f8_e8m0) || stored_as(Dtype::f8_e4m3);
  if (!stored_as(Dtype::f16) && !stored_as(Dtype::bf16) && !stored_as(Dtype::f32) && !(bytes && level_table()))
    refuse("scales are stored as F16, BF16 or F32, with an level_table also as F8_E8M0 or F8_E4M3");
}

void OneLevelGrid::fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const {
  const ParamArray& shape = q.params[0];
  const int64_t size = q.cols / shape.cols;
  const auto n = static_cast<size_t>(shape.rows * shape.cols);
  const std::vector<float> even = evened(importance);
  FlatFitProblem p = problem(q.scheme, level_table());
  p.w = w.data();
  p.blocks = static_cast<int64_t>(n);
  p.size = size;
  p.importance = even.empty() ? nullptr : even.data();
  p.importance_blocks = shape.cols;
  const std::unique_ptr<float[], FreeAligned> scratch(static_cast<float*>(
      ::operator new[](static_cast<size_t>(2 * kFlatLanes * (size + 1)) * sizeof(float), std::align_val_t{64})));
  std::vector<float> scales(n), offsets(n);
  fastest(all_block_searches()).search(p, scratch.get(), scales.data(), offsets.data());
  for (size_t i = 0; i < n; ++i)
    if (!std::isfinite(scales[i]) || !std::isfinite(offsets[i]))
      refuse_large(static_cast<int64_t>(i) / shape.cols, shape.stored);
  from_f32(shape.stored, scales, q.params[0].bytes);
  if (!level_table()) from_f32(shape.stored, offsets, q.params[1].bytes);
}

BlockGrid::Blocks OneLevelGrid::blocks(const QuantizedMatrix& q) const {
  Blocks b{floats_of(q.params[0]), {}};
  b.offsets = level_table() ? std::vector<float>(b.scales.size()) : floats_of(q.params[1]);
  return b;
}

ScaleOffset OneLevelGrid::effective(const QuantizedMatrix& q, int64_t row, int64_t col) const {
  const int64_t block = col / (q.cols / q.params[0].cols);
  return {q.params[0].get(row, block), level_table() ? 0.0f : q.params[1].get(row, block)};
}

ScaleOffset OneLevelGrid::project(const QuantizedMatrix& q, int64_t, int64_t, ScaleOffset wanted) const {
  const FlatFitProblem p = problem(q.scheme, level_table());
  return {stored(p, wanted.scale, 0), level_table() ? 0.0f : stored(p, wanted.offset, 0)};
}

void OneLevelGrid::set(QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset e) const {
  const int64_t block = col / (q.cols / q.params[0].cols);
  q.params[0].set(row, block, e.scale);
  if (!level_table()) q.params[1].set(row, block, e.offset);
}

}  // namespace kerf
