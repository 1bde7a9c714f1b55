// Vectors whose lane l belongs to block l: no step needs a reduction across lanes, and every machine computes the same
// bits. Included once per instruction set, after lanes_<isa>.h, which defines:
//   kLanes                  the floats in one register;  Vec, Ints: as many floats, 32-bit integers
//   Pairs                   twice as many 16-bit integers: two weights per lane
//   transpose(rows, j, to)  lane l of to[i] = rows[l][j + i] for i < kLanes
//   times(a, k)             floor(a k / 2^15 + 1/2) in 16 bits
//   dot(s, a, b)            s + the two products of each lane
//   looked_up(table, i)     table[i & 31], from 32 floats at an address divisible by 64
//   root(x)                 the square root
//   min_of(a, b)            a < b ? a : b;  max_of(a, b): a > b ? a : b
//   gathered(table, i)      table[i]
//   store_bytes(code, to)   the lowest byte of each lane
// Everything here is local to that file, and nothing uses fused multiply-add, which a plain x86-64 would have to
// emulate.
#pragma once

#include "core/dtype.h"

namespace kerf {
namespace {

inline Vec splat(float x) { return Vec{} + x; }
inline Vec select(Ints m, Vec a, Vec b) { return (Vec)((m & (Ints)a) | (~m & (Ints)b)); }
inline Vec abs_of(Vec a) { return (Vec)((Ints)a & 0x7fffffff); }
inline Vec float_of(Ints a) { return __builtin_convertvector(a, Vec); }

// 1.5 * 2^23: a number below 2^22 in magnitude that is added to it becomes an integer, ties to even, which stands in
// the low bits of the sum. What is larger keeps its order, so clamping the sum gives the nearest integer in a range.
constexpr float kRound = 12582912.0f;
inline Vec code_of(Vec w, Vec inverse, Vec lo, Vec hi) {
  return min_of(max_of((w * inverse + kRound) - kRound, lo), hi);
}

// round_to(type, scale) lane by lane, as core/dtype.cc does it; and zero where a reciprocal would overflow.
typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(float))));
inline Vec stored(Vec scale, Dtype type) {
  const Bits bits = (Bits)scale, sign = bits & 0x80000000u;
  Vec r = scale;
  if (type == Dtype::bf16) r = (Vec)((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
  if (type == Dtype::f16) {
    const Bits magnitude = bits ^ sign;
    const Vec m = (Vec)magnitude;
    const Vec normal = (Vec)((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) & 0xffffe000u);
    const Vec subnormal = (m + 0.5f) - 0.5f;  // multiples of 2^-24
    r = select(m < 0x1p-14f, subnormal, normal);
    r = select(m >= 65520.0f, splat(__builtin_inff()), r);
    r = (Vec)((Bits)r | sign);
  }
  constexpr float kTiny = 0x1p-126f;
  return select(abs_of(r) < kTiny, Vec{}, r);
}

// Lane l of to[j] = rows[l][j] for j < size, and a zero behind.
inline void gather(const float* const* rows, int64_t size, Vec* to) {
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) transpose(rows, j, to + j);
  for (; j < size; ++j)
    for (int l = 0; l < kLanes; ++l) to[j][l] = rows[l][j];
  to[size] = Vec{};
}

// Blocks [first, first + kLanes) of a search and their importance, if any, lane by lane; lanes past the last block
// repeat the first one. Returns how many are there.
template <class Problem>
inline int64_t gather_blocks(const Problem& p, int64_t first, Vec* w, Vec* v) {
  const int64_t here = p.blocks - first < kLanes ? p.blocks - first : kLanes;
  const float* rows[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) rows[l] = p.w + (first + (l < here ? l : 0)) * p.size;
  gather(rows, p.size, w);
  if (p.importance) {
    for (int64_t l = 0; l < kLanes; ++l) rows[l] = p.importance + (first + l) % p.importance_blocks * p.size;
    gather(rows, p.size, v);
  }
  return here;
}

}  // namespace
}  // namespace kerf
