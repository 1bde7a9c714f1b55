#include "grids/two_level_grid.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/search/superblock_search.h"

namespace kerf {
namespace {

// Where the parameters of a scheme stand among its levels.
struct Places {
  size_t scale, sub, min, sub_min;
};
Places places(const Scheme& s) { return adds_offset(s) ? Places{0, 2, 1, 3} : Places{0, 1, 0, 1}; }

// The sub-scales that can be stored.
struct Limits {
  float low, high;
};
Limits limits(const Level& sub) {
  const float n = static_cast<float>(1 << stored_bits(sub));
  return sub.stored == Dtype::i8 ? Limits{-n / 2, n / 2 - 1} : Limits{0, n - 1};
}
float multiple(float wanted, float unit, const Level& sub) {
  if (unit == 0.0f) return 0;
  const Limits l = limits(sub);
  return std::clamp(std::nearbyint(wanted / unit), l.low, l.high);
}

int64_t sub_block(const Scheme& s) { return s.levels.back().block.cols; }
constexpr int64_t kSuper = 256;

KFitProblem problem(std::span<const float> w, const QuantizedMatrix& q) {
  const Level& sub = q.scheme.levels.back();
  return {.w = w.data(),
          .supers = q.rows * q.cols / kSuper,
          .importance = nullptr,
          .importance_supers = q.cols / kSuper,
          .bits = q.scheme.bits,
          .sub = static_cast<int>(sub.block.cols),
          .sub_bits = stored_bits(sub),
          .affine = adds_offset(q.scheme)};
}

void to_bytes(const std::vector<float>& from, std::vector<std::byte>& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<std::byte>(static_cast<int>(from[i]));
}
}  // namespace

void TwoLevelGrid::check(const Scheme& s) const {
  for (const int64_t sub : {16, 32})
    for (const int sub_bits : {4, 6, 8}) {
      Scheme affine = two_level_affine(s.bits, sub, sub_bits), symmetric = two_level_symmetric(s.bits, sub, sub_bits);
      affine.grid = symmetric.grid = name();
      const bool known = level_table() ? s == symmetric && 1u << s.bits == level_table()->number.size()
                                       : (s == affine || s == symmetric) && s.bits >= 2 && s.bits <= 6;
      if (known) return;
    }
  fail(ErrorKind::unsupported,
       "'{}' is no scheme of the grid '{}': codes of {} bits, scales of 4, 6 or 8 bits for 16 or 32 weights and in F16 "
       "for "
       "256",
       describe(s), name(), level_table() ? "4" : "2 to 6");
}

void TwoLevelGrid::fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const {
  const Places at = places(q.scheme);
  KFitProblem p = problem(w, q);
  p.level_table = level_table();
  const std::vector<float> even = evened(importance);
  p.importance = even.empty() ? nullptr : even.data();
  const auto supers = static_cast<size_t>(p.supers), subs = supers * static_cast<size_t>(kSuper / p.sub);
  std::vector<float> d(supers), e(supers), s(subs), m(subs);
  fastest(all_superblock_searches()).search(p, {d.data(), e.data(), s.data(), m.data()});
  for (size_t i = 0; i < supers; ++i)
    if (!std::isfinite(d[i]) || !std::isfinite(e[i]))
      refuse_large(static_cast<int64_t>(i) * kSuper / q.cols, Dtype::f16);
  from_f32(Dtype::f16, d, q.params[at.scale].bytes);
  to_bytes(s, q.params[at.sub].bytes);
  if (!adds_offset(q.scheme)) return;
  from_f32(Dtype::f16, e, q.params[at.min].bytes);
  to_bytes(m, q.params[at.sub_min].bytes);
}

BlockGrid::Blocks TwoLevelGrid::blocks(const QuantizedMatrix& q) const {
  const Places at = places(q.scheme);
  const auto subs = static_cast<size_t>(kSuper / sub_block(q.scheme));
  Blocks b{floats_of(q.params[at.sub]), {}};
  const std::vector<float> d = floats_of(q.params[at.scale]);
  for (size_t i = 0; i < b.scales.size(); ++i) b.scales[i] = d[i / subs] * b.scales[i];
  if (!adds_offset(q.scheme)) {
    b.offsets.assign(b.scales.size(), fixed_offset(q.scheme));
    return b;
  }
  b.offsets = floats_of(q.params[at.sub_min]);
  const std::vector<float> dmin = floats_of(q.params[at.min]);
  for (size_t i = 0; i < b.offsets.size(); ++i) b.offsets[i] = -(dmin[i / subs] * b.offsets[i]);
  return b;
}

ScaleOffset TwoLevelGrid::effective(const QuantizedMatrix& q, int64_t row, int64_t col) const {
  const Places at = places(q.scheme);
  const int64_t super = col / kSuper, sub = col / sub_block(q.scheme);
  const float scale = q.params[at.scale].get(row, super) * q.params[at.sub].get(row, sub);
  if (!adds_offset(q.scheme)) return {scale, fixed_offset(q.scheme)};
  return {scale, -(q.params[at.min].get(row, super) * q.params[at.sub_min].get(row, sub))};
}

ScaleOffset TwoLevelGrid::project(const QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset wanted) const {
  const Places at = places(q.scheme);
  const Level& level = q.scheme.levels[at.sub];
  const float d = q.params[at.scale].get(row, col / kSuper);
  const float scale = d * multiple(wanted.scale, d, level);
  if (!adds_offset(q.scheme)) return {scale, fixed_offset(q.scheme)};
  const float dmin = q.params[at.min].get(row, col / kSuper);
  return {scale, -(dmin * multiple(-wanted.offset, dmin, level))};
}

void TwoLevelGrid::set(QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset e) const {
  const Places at = places(q.scheme);
  const Level& level = q.scheme.levels[at.sub];
  const int64_t super = col / kSuper, sub = col / sub_block(q.scheme);
  q.params[at.sub].set(row, sub, multiple(e.scale, q.params[at.scale].get(row, super), level));
  if (adds_offset(q.scheme))
    q.params[at.sub_min].set(row, sub, multiple(-e.offset, q.params[at.min].get(row, super), level));
}

}  // namespace kerf
