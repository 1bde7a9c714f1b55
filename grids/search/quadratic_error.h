// The error of a block as a quadratic form in its scale and offset, while its codes stay. Included by the texts that
// are compiled once per instruction set (lanes.h).
#pragma once

#include "grids/search/lanes.h"
#include "grids/search/level_table.h"

namespace kerf {
namespace {

// 0 where it would overflow.
inline Vec reciprocal(Vec x) { return select(abs_of(x) > 0x1p-100f, 1.0f / x, Vec{}); }
inline Vec rounded(Vec x, Vec low, Vec high) { return min_of(max_of((x + kRound) - kRound, low), high); }

// The nearest number that a code stands for: evenly spaced integers, or those of an level_table.
struct Even {
  Vec low, high;
  Vec operator()(Vec x) const { return rounded(x, low, high); }
};
struct FromTable {
  const LevelTable& level_table;
  Vec operator()(Vec x) const {
    const Ints i = cell(x);
    return looked_up(level_table.lower, i) +
           select(x > looked_up(level_table.limit, i), looked_up(level_table.step, i), Vec{});
  }
  Vec code(Vec x) const {
    const Ints i = cell(x);
    return select(x > looked_up(level_table.limit, i), looked_up(level_table.upper_code, i),
                  looked_up(level_table.lower_code, i));
  }
  Ints cell(Vec x) const {  // in the lowest bits
    const Vec at =
        min_of(max_of(x * level_table.cells_per_unit + level_table.first_cell, Vec{}), splat(LevelTable::kCells - 1));
    return (Ints)(at + kRound);
  }
};

// Over the weights of each block, with codes q and residuals r = w - (scale q + offset): the sums of v, v q, v q^2,
// v r, v r q, v r^2.
struct Sums {
  Vec n, q, qq, r, rq, rr;
};

template <bool kWeighted, bool kAffine, class Numbers>
inline Sums sums_at(const Vec* w, const Vec* v, int64_t size, const Numbers& nearest, Vec scale, Vec offset) {
  const Vec inverse = reciprocal(scale);
  Sums s{};
  for (int64_t j = 0; j < size; ++j) {
    const Vec x = kAffine ? w[j] - offset : w[j];
    const Vec q = nearest(x * inverse);
    const Vec r = kAffine ? w[j] - (scale * q + offset) : w[j] - scale * q;
    const Vec vq = kWeighted ? v[j] * q : q, vr = kWeighted ? v[j] * r : r;
    s.qq += vq * q;
    s.rq += vr * q;
    s.rr += vr * r;
    if (!kAffine) continue;
    if (kWeighted) s.n += v[j];
    s.q += vq;
    s.r += vr;
  }
  if (kAffine && !kWeighted) s.n = splat(static_cast<float>(size));
  return s;
}

// What a change of scale and offset by a and b does, codes staying.
struct Move {
  Vec a, b;
};
template <bool kAffine>
inline Vec error_after(const Sums& s, Move m) {
  Vec e = s.rr + m.a * (m.a * s.qq - 2.0f * s.rq);
  if (kAffine) e += m.b * (m.b * s.n + 2.0f * (m.a * s.q - s.r));
  return max_of(Vec{}, e);  // what is not a number stays so, and is never better
}

// Less of its largest term than this is the rounding of a determinant: sums of 32 terms, each rounded by 2^-24.
constexpr float kSound = 0x1p-17f;

// The best one. Unless kFree, scales of affine blocks stay above and offsets below zero.
template <bool kAffine, bool kFree = false>
inline Move best_move(const Sums& s, Vec scale, Vec offset) {
  const Vec alone = s.rq * reciprocal(s.qq);
  if (!kAffine) return {alone, Vec{}};
  const Vec det = s.qq * s.n - s.q * s.q;
  const Vec inverse = reciprocal(det);
  const Ints sound = (det > kSound * (s.qq * s.n)) & (inverse != 0.0f);
  Move m{(s.rq * s.n - s.r * s.q) * inverse, select(sound, (s.r * s.qq - s.rq * s.q) * inverse, s.r * reciprocal(s.n))};
  if (kFree) return m;
  const Ints past = offset + m.b > 0.0f;
  m.b = select(past, -offset, m.b);
  m.a = select(past, (s.rq - m.b * s.q) * reciprocal(s.qq), m.a);
  m.a = max_of(m.a, -scale);
  return m;
}
// The best offset where the scale changes by a.
inline Vec best_offset(const Sums& s, Vec a, Vec offset) { return min_of((s.r - a * s.q) * reciprocal(s.n), -offset); }

}  // namespace
}  // namespace kerf
