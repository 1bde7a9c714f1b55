// Symmetric blocks whose weights all have the same importance: several roundings of a block compared in 16-bit
// integers. Weights become x = round(4096 w / largest), and with them every candidate, "the largest weight becomes this
// code", is the same multiplication by a constant: q = x code / 4096. The sums are exact integers, in whatever order,
// two weights per lane and step. Included by the texts that are compiled once per instruction set (lanes.h).
#pragma once

#include "grids/search/lanes.h"

namespace kerf {
namespace {

struct Lanes {
  const Vec* w;  // size of them, and then a zero
  const Vec* v;  // importance
  int64_t size;
};

struct Gain {
  Vec wq, qq;
};

// The candidate with the largest gain s wq = wq^2 / qq, compared without dividing; its best scale s is wq / qq.
template <int kCount>
inline Gain best_of(const Gain* g) {
  Gain best{Vec{}, splat(1.0f)};
  for (int c = 0; c < kCount; ++c) {
    const Ints better = (g[c].wq * g[c].wq) * best.qq > (best.wq * best.wq) * g[c].qq;
    best = {select(better, g[c].wq, best.wq), select(better, g[c].qq, best.qq)};
  }
  return best;
}

inline Vec largest(const Lanes& b) {  // with its sign
  Vec low{}, high{};
  for (int64_t j = 0; j < b.size; ++j) {
    low = min_of(low, b.w[j]);
    high = max_of(high, b.w[j]);
  }
  return select(high > -low, high, low);
}

constexpr int kUnit = 4096, kPerCode = 32768 / kUnit;  // so that times(x, kPerCode * codes) is a code
constexpr int64_t kExact = 2048;                       // weights whose |sum x q| stays below 2^31: 2^11 2^12 2^7

struct Best {
  Vec scale, qq;
};

// The best of kCount candidates. `x` has room for (size + 1) / 2. Without kClip no candidate may reach below the lowest
// code.
template <int kCount, bool kClip>
inline Best search_integers(const Lanes& b, int bits, const float* code, Pairs* x) {
  const int half = 1 << (bits - 1);
  const Vec biggest = largest(b);
  // Blocks below 2^-100 become zeros: their reciprocals would overflow.
  const Vec unit = select(abs_of(biggest) >= 0x1p-100f, static_cast<float>(kUnit) / biggest, Vec{});
  for (int64_t j = 0; j < b.size; j += 2) {
    const Ints even = (Ints)(b.w[j] * unit + kRound), odd = (Ints)(b.w[j + 1] * unit + kRound);
    x[j / 2] = (Pairs)((even & 0xffff) | (odd << 16));
  }
  int16_t factor[kCount];
  for (int c = 0; c < kCount; ++c) factor[c] = static_cast<int16_t>(kPerCode * code[c]);
  const Pairs lo = Pairs{} - static_cast<int16_t>(half), hi = Pairs{} + static_cast<int16_t>(half - 1);

  Gain g[kCount] = {};
  for (int64_t begin = 0; begin < b.size; begin += kExact) {
    const int64_t end = b.size < begin + kExact ? b.size : begin + kExact;
    Ints wq[kCount] = {}, qq[kCount] = {};
    for (int64_t j = begin; j < end; j += 2)
      for (int c = 0; c < kCount; ++c) {
        Pairs q = times(x[j / 2], factor[c]);
        q = q < hi ? q : hi;
        if (kClip) q = q > lo ? q : lo;
        wq[c] = dot(wq[c], x[j / 2], q);
        qq[c] = dot(qq[c], q, q);
      }
    for (int c = 0; c < kCount; ++c) g[c] = {g[c].wq + float_of(wq[c]), g[c].qq + float_of(qq[c])};
  }
  const Gain best = best_of<kCount>(g);
  return {best.wq / best.qq * (biggest * (1.0f / kUnit)), best.qq};
}

}  // namespace
}  // namespace kerf
