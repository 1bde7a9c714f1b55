// Sixteen sub-blocks side by side, in as many registers as they take (lanes.h): one or two super-blocks.
#pragma once

#include <utility>

#include "grids/search/lanes.h"

namespace kerf {
namespace {

constexpr int kChunk = 16, kParts = kChunk / kLanes;  // sub-blocks at a time, and the registers for one number of each

// One number for each sub-block of a chunk.
struct SubblockVector {
  Vec part[kParts];
};
template <class F>
inline SubblockVector each(F f) {
  SubblockVector r;
  for (int p = 0; p < kParts; ++p) r.part[p] = f(p);
  return r;
}
inline SubblockVector choose(const SubblockVector& m, const SubblockVector& a, const SubblockVector& b) {
  return each([&](int p) { return select((Ints)m.part[p], a.part[p], b.part[p]); });
}

// Lane i of the result = lane i ^ kDistance of x.
template <int kDistance, int... kLane>
inline Vec exchanged(Vec x, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(x, x, (kLane ^ kDistance)...);
}
template <int kDistance>
inline SubblockVector exchanged(const SubblockVector& x) {
  if constexpr (kDistance >= kLanes)
    return each([&](int p) { return x.part[p ^ (kDistance / kLanes)]; });
  else
    return each([&](int p) { return exchanged<kDistance>(x.part[p], std::make_integer_sequence<int, kLanes>()); });
}
// Over the `subs` sub-blocks of a super-block, in a fixed order, with the same result in each of its lanes.
template <class Op>
inline SubblockVector over_supers(SubblockVector x, int subs, Op op) {
  const auto halve = [&](const SubblockVector& other) {
    x = each([&](int p) { return op(x.part[p], other.part[p]); });
  };
  if (subs == kChunk) halve(exchanged<8>(x));
  halve(exchanged<4>(x));
  halve(exchanged<2>(x));
  halve(exchanged<1>(x));
  return x;
}
inline SubblockVector sum(const SubblockVector& x, int subs) {
  return over_supers(x, subs, [](Vec a, Vec b) { return a + b; });
}
inline SubblockVector largest(const SubblockVector& x, int subs) { return over_supers(x, subs, max_of); }
// The number of the largest magnitude, with its sign; the positive one of two.
inline SubblockVector farthest(const SubblockVector& x, int subs) {
  const SubblockVector high = largest(x, subs), low = over_supers(x, subs, min_of);
  return each([&](int p) { return select(high.part[p] >= -low.part[p], high.part[p], low.part[p]); });
}

}  // namespace
}  // namespace kerf
