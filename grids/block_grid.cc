#include "grids/block_grid.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "core/fastest.h"
#include "grids/search/block_search.h"
#include "grids/search/int_search.h"

namespace kerf {
namespace {

float top_code(const Scheme& s) { return static_cast<float>((1 << s.bits) - 1); }

}  // namespace

void BlockGrid::encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float>) const {
  Blocks b = blocks(q);
  const bool adds = adds_offset(q.scheme);
  if (!adds) std::fill(b.offsets.begin(), b.offsets.end(), 0.0f);
  const auto n = static_cast<int64_t>(b.scales.size());
  const FlatFitProblem p{.w = w.data(),
                         .blocks = n,
                         .size = static_cast<int64_t>(w.size()) / n,
                         .importance = nullptr,
                         .importance_blocks = 1,
                         .bits = q.scheme.bits,
                         .zero = adds ? 0.0f : fixed_offset(q.scheme),
                         .level_table = level_table()};
  fastest(all_block_searches()).encode(p, b.scales.data(), b.offsets.data(), q.codes.data());
}

void BlockGrid::decode(const QuantizedMatrix& q, std::span<float> w) const {
  const Blocks b = blocks(q);
  const size_t size = w.size() / b.scales.size();
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = BlockGrid::value(q.scheme, {b.scales[i / size], b.offsets[i / size]}, q.codes[i]);
}

uint32_t BlockGrid::nearest(const Scheme& s, ScaleOffset e, float x) const {
  uint8_t code;
  float unused;
  BlockGrid::round(s, &e.scale, &e.offset, &x, 1, &code, &unused);
  return code;
}

float BlockGrid::value(const Scheme& s, ScaleOffset e, uint32_t code) const {
  if (alphabet_) return e.scale * alphabet_->number[code];
  const float c = static_cast<float>(code);
  return adds_offset(s) ? e.scale * c + e.offset : e.scale * (c - e.offset);
}

void BlockGrid::round(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n,
                      uint8_t* codes, float* values) const {
  if (!alphabet_) {
    static const IntSearch& evenly_spaced = fastest(all_int_searches());
    return evenly_spaced.round(top_code(s), adds_offset(s), scale, offset, x, n, codes, values);
  }
  for (int64_t i = 0; i < n; ++i) {
    const float inverse = scale[i] != 0.0f ? 1.0f / scale[i] : 0.0f;
    codes[i] = static_cast<uint8_t>(alphabet_->nearest(x[i] * inverse));
    values[i] = scale[i] * alphabet_->number[codes[i]];
  }
}

Grid::Neighbours BlockGrid::neighbours(const Scheme& s, ScaleOffset e, uint32_t code) const {
  const uint32_t down = alphabet_ ? alphabet_->below(code) : code == 0 ? 0 : code - 1;
  const uint32_t up = alphabet_ ? alphabet_->above(code) : std::min(code + 1, static_cast<uint32_t>(top_code(s)));
  return e.scale < 0 ? Neighbours{up, down} : Neighbours{down, up};
}

std::vector<float> floats_of(const ParamArray& p) {
  std::vector<float> x(static_cast<size_t>(p.rows * p.cols));
  to_f32(p.stored, p.bytes, x);
  return x;
}

namespace {

// Nothing is known of columns below this share of the largest importance: they count as the least of the others.
constexpr float kKnown = 0x1p-32f;

// The largest becomes about 1, by a power of two; at least one is above 0.
void even_out(std::span<float> importance, float most) {
  const double factor = std::ldexp(1.0, -std::ilogb(most));
  float least = 2;
  for (float& v : importance) {
    v = static_cast<float>(static_cast<double>(v) * factor);
    if (v >= kKnown) least = std::min(least, v);
  }
  for (float& v : importance)
    if (v < kKnown) v = least;
}

}  // namespace

std::vector<float> evened_by_block(std::span<const float> importance, int64_t size) {
  std::vector<float> even(importance.begin(), importance.end());
  const auto step = static_cast<size_t>(size);
  for (size_t begin = 0; begin < even.size(); begin += step) {
    const std::span<float> block = std::span(even).subspan(begin, std::min(step, even.size() - begin));
    const float most = *std::max_element(block.begin(), block.end());
    if (most > 0)
      even_out(block, most);
    else
      std::fill(block.begin(), block.end(), 1.0f);
  }
  return even;
}

std::vector<float> evened(std::span<const float> importance) {
  float most = 0;
  for (const float v : importance) most = std::max(most, v);
  if (!(most > 0)) return {};
  std::vector<float> even(importance.begin(), importance.end());
  even_out(even, most);
  for (float& v : even) v = std::max(v, 0x1p-24f);
  return even;
}

}  // namespace kerf
