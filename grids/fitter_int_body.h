// Scale search and rounding for blocks of integers, several blocks side by side: lane l of every vector belongs to
// block l, so that the sums of a block run in the same order whatever the width of the machine's registers, and no step
// needs a reduction across lanes. Included once by each fitter_int_<isa>.cc, which first defines:
//   kLanes                  the floats in one register;  Vec, Ints: as many floats, 32-bit integers
//   Pairs                   twice as many 16-bit integers: two weights per lane
//   transpose(rows, j, to)  lane l of to[i] = rows[l][j + i] for i < kLanes
//   times(a, k)             floor(a k / 2^15 + 1/2) in 16 bits
//   dot(s, a, b)            s + the two products of each lane
//   store_bytes(code, to)   the lowest byte of each lane
// Everything here is local to that file, and nothing uses fused multiply-add, which a plain x86-64 would have to
// emulate.
//
// For integer codes q in [lo, hi] (lo = -zero) and scale s the error of a block is E(s, q) = sum v (w - s q)^2. Given
// q, the best scale is s = sum(v w q) / sum(v q^2), and then E = sum(v w^2) - sum(v w q)^2 / sum(v q^2). The search
// tries a few roundings q = round(w / s0), keeps the one with the largest gain sum(v w q)^2 / sum(v q^2), and takes its
// best scale.
#pragma once

#include "grids/fitter.h"

namespace kerf {
namespace {

inline Vec splat(float x) { return Vec{} + x; }
inline Vec select(Ints m, Vec a, Vec b) { return (Vec)((m & (Ints)a) | (~m & (Ints)b)); }
inline Vec min_of(Vec a, Vec b) { return a < b ? a : b; }
inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }
inline Vec abs_of(Vec a) { return (Vec)((Ints)a & 0x7fffffff); }
inline Vec float_of(Ints a) { return __builtin_convertvector(a, Vec); }

// 1.5 * 2^23: a number below 2^22 in magnitude that is added to it becomes an integer, ties to even, which stands in
// the low bits of the sum. What is larger keeps its order, so clamping the sum gives the nearest integer in a range.
constexpr float kRound = 12582912.0f;
inline Vec code_of(Vec w, Vec inverse, Vec lo, Vec hi) {
  return min_of(max_of((w * inverse + kRound) - kRound, lo), hi);
}

// The largest weight of a symmetric block may land this many codes past -half = -2^(bits-1), the end of the longer
// side. 0 is the plain scale of llama.cpp for 4 bits and -1 the one for 8, so that the search is never worse than
// those; up to 0.5 nothing is clipped. The roundings differ, and one of several is luckier; in larger blocks the rare
// large weights are worth clipping. Squared error of Gaussian weights against the plain scale's, with the first three
// and with all: 4 bits in blocks of 32 .900 and .897, of 128 .91 and .886, of 2048 .86 and .674; 8 bits in blocks of 32
// .864 and .864.
constexpr float kPast[] = {-1.0f, 0.0f, 0.5f, 1.25f, 2.5f, 5.0f};
constexpr int kUnclipped = 3, kAll = sizeof kPast / sizeof kPast[0];
constexpr int64_t kSmallBlock = 32;  // the largest block for which the first kUnclipped are enough

// Asymmetric blocks: the part of the range that is kept, the last two in large blocks only.
constexpr float kShrink[] = {1.0f, 0.97f, 0.94f, 0.91f, 0.87f, 0.82f, 0.74f, 0.65f};
constexpr int kShrinks = sizeof kShrink / sizeof kShrink[0];
constexpr int64_t kLargeBlock = 128;

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

struct Lanes {
  const Vec* w;  // size of them, and then a zero
  const Vec* v;  // importance
  int64_t size;
};

struct Gain {
  Vec wq, qq;
};

// The best scale of the candidate with the largest gain; s wq = wq^2 / qq, compared without dividing.
template <int kCount>
inline Vec best_of(const Gain* g) {
  Gain best{Vec{}, splat(1.0f)};
  for (int c = 0; c < kCount; ++c) {
    const Ints better = (g[c].wq * g[c].wq) * best.qq > (best.wq * best.wq) * g[c].qq;
    best = {select(better, g[c].wq, best.wq), select(better, g[c].qq, best.qq)};
  }
  return best.wq / best.qq;
}

inline Vec largest(const Lanes& b) {  // with its sign
  Vec low{}, high{};
  for (int64_t j = 0; j < b.size; ++j) {
    low = min_of(low, b.w[j]);
    high = max_of(high, b.w[j]);
  }
  return select(high > -low, high, low);
}

// --- Symmetric blocks, all weights of the same importance: 16-bit integers ---
// Weights become integers x = round(4096 w / largest), and with them every candidate is the same multiplication by a
// constant: q = x (half + past) / 4096. The sums are exact integers, in whatever order, two weights per lane and step.
constexpr int kUnit = 4096, kPerCode = 32768 / kUnit;  // so that times(x, kPerCode * codes) is a code
constexpr int64_t kExact = 2048;                       // weights whose |sum x q| stays below 2^31: 2^11 2^12 2^7

// `x` has room for (size + 1) / 2.
template <int kCount>
inline Vec search_integers(const Lanes& b, int bits, Pairs* x) {
  const int half = 1 << (bits - 1);
  const Vec biggest = largest(b);
  // Blocks below 2^-100 become zeros: their reciprocals would overflow.
  const Vec unit = select(abs_of(biggest) >= 0x1p-100f, static_cast<float>(kUnit) / biggest, Vec{});
  for (int64_t j = 0; j < b.size; j += 2) {
    const Ints even = (Ints)(b.w[j] * unit + kRound), odd = (Ints)(b.w[j + 1] * unit + kRound);
    x[j / 2] = (Pairs)((even & 0xffff) | (odd << 16));
  }
  int16_t factor[kCount];
  for (int c = 0; c < kCount; ++c) factor[c] = static_cast<int16_t>(-kPerCode * (static_cast<float>(half) + kPast[c]));
  const Pairs lo = Pairs{} - static_cast<int16_t>(half), hi = Pairs{} + static_cast<int16_t>(half - 1);

  Gain g[kCount] = {};
  for (int64_t begin = 0; begin < b.size; begin += kExact) {
    const int64_t end = b.size < begin + kExact ? b.size : begin + kExact;
    Ints wq[kCount] = {}, qq[kCount] = {};
    for (int64_t j = begin; j < end; j += 2)
      for (int c = 0; c < kCount; ++c) {
        Pairs q = times(x[j / 2], factor[c]);
        q = q < hi ? q : hi;
        if (kCount > kUnclipped) q = q > lo ? q : lo;
        wq[c] = dot(wq[c], x[j / 2], q);
        qq[c] = dot(qq[c], q, q);
      }
    for (int c = 0; c < kCount; ++c) g[c] = {g[c].wq + float_of(wq[c]), g[c].qq + float_of(qq[c])};
  }
  return best_of<kCount>(g) * (biggest * (1.0f / kUnit));
}

// --- Weights of different importance, and asymmetric blocks: floats ---

// The gain of the codes that one scale gives.
template <bool kWeighted>
inline Gain gain(const Lanes& b, Vec inverse, Vec lo, Vec hi) {
  Gain g{};
  for (int64_t j = 0; j < b.size; ++j) {
    const Vec q = code_of(b.w[j], inverse, lo, hi);
    const Vec vq = kWeighted ? b.v[j] * q : q;
    g.wq += b.w[j] * vq;
    g.qq += q * vq;
  }
  return g;
}

template <bool kWeighted>
inline Vec error(const Lanes& b, Vec scale, Vec lo, Vec hi) {
  const Vec inverse = select(scale != 0.0f, 1.0f / scale, Vec{});
  Vec e{};
  for (int64_t j = 0; j < b.size; ++j) {
    const Vec d = b.w[j] - scale * code_of(b.w[j], inverse, lo, hi);
    e += (kWeighted ? b.v[j] * d : d) * d;
  }
  return e;
}

inline Vec search_weighted(const Lanes& b, int bits) {
  const float half = static_cast<float>(1 << (bits - 1));
  const Vec biggest = largest(b);
  const Vec unit = select(abs_of(biggest) >= 0x1p-100f, 1.0f / biggest, Vec{});
  Gain g[kAll];
  for (int c = 0; c < kAll; ++c) g[c] = gain<true>(b, unit * (-half - kPast[c]), splat(-half), splat(half - 1));
  return best_of<kAll>(g);
}

template <bool kWeighted>
inline void search_asymmetric(const Lanes& b, int bits, Dtype type, Vec* scale, Vec* zero) {
  const float top = static_cast<float>((1 << bits) - 1);
  Vec low{}, high{};  // the range is widened to hold zero, which every layout can express exactly
  for (int64_t j = 0; j < b.size; ++j) {
    low = min_of(low, b.w[j]);
    high = max_of(high, b.w[j]);
  }
  const Vec range = high - low;
  Vec best_scale{}, best_zero{}, best_error = splat(__builtin_inff());
  for (int i = 0; i < (b.size > kLargeBlock ? kShrinks : kShrinks - 2); ++i) {
    const float shrink = kShrink[i];
    const Vec s0 = stored(range * (shrink / top), type);
    const Vec inverse = select(s0 != 0.0f, 1.0f / s0, Vec{});
    const Vec z = code_of(-low * shrink, inverse, Vec{}, splat(top));
    const Gain g = gain<kWeighted>(b, inverse, -z, top - z);
    for (const Vec s : {s0, stored(select(g.qq > 0.0f, g.wq / g.qq, Vec{}), type)}) {
      const Vec e = error<kWeighted>(b, s, -z, top - z);
      const Ints better = e < best_error;
      best_error = select(better, e, best_error);
      best_scale = select(better, s, best_scale);
      best_zero = select(better, z, best_zero);
    }
  }
  *scale = best_scale;
  *zero = best_zero;
}

// Lane l of to[j] = rows[l][j] for j < size, and a zero behind.
inline void gather(const float* const* rows, int64_t size, Vec* to) {
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) transpose(rows, j, to + j);
  for (; j < size; ++j)
    for (int l = 0; l < kLanes; ++l) to[j][l] = rows[l][j];
  to[size] = Vec{};
}

void search(const IntFitProblem& p, float* scales, float* zeros) {
  Vec* w = reinterpret_cast<Vec*>(p.scratch);
  Vec* v = w + p.size + 1;  // importance, or the integers
  const Lanes b{w, v, p.size};
  const float* rows[kLanes];
  for (int64_t first = 0; first < p.blocks; first += kLanes) {
    const int64_t here = p.blocks - first < kLanes ? p.blocks - first : kLanes;
    for (int64_t l = 0; l < kLanes; ++l) rows[l] = p.w + (first + (l < here ? l : 0)) * p.size;
    gather(rows, p.size, w);
    if (p.importance) {
      for (int64_t l = 0; l < kLanes; ++l) rows[l] = p.importance + (first + l) % p.importance_blocks * p.size;
      gather(rows, p.size, v);
    }
    Vec scale{}, zero = splat(static_cast<float>(1 << (p.bits - 1)));
    if (!p.symmetric && p.importance) search_asymmetric<true>(b, p.bits, p.stored, &scale, &zero);
    if (!p.symmetric && !p.importance) search_asymmetric<false>(b, p.bits, p.stored, &scale, &zero);
    if (p.symmetric && p.importance) scale = stored(search_weighted(b, p.bits), p.stored);
    if (p.symmetric && !p.importance) {
      Pairs* x = reinterpret_cast<Pairs*>(v);
      scale = stored(
          p.size <= kSmallBlock ? search_integers<kUnclipped>(b, p.bits, x) : search_integers<kAll>(b, p.bits, x),
          p.stored);
    }
    for (int64_t l = 0; l < here; ++l) {
      scales[first + l] = scale[l];
      zeros[first + l] = zero[l];
    }
  }
}

// The code stands in the lowest byte of the rounded sum, zero point included.
inline Ints codes_of(const float* w, float inverse, float zero, float top) {
  Vec x;
  __builtin_memcpy(&x, w, sizeof x);
  return (Ints)min_of(max_of(x * inverse + (kRound + zero), splat(kRound)), splat(kRound + top));
}

void encode(const IntFitProblem& p, const float* scales, const float* zeros, uint8_t* codes) {
  const float top = static_cast<float>((1 << p.bits) - 1);
  for (int64_t block = 0; block < p.blocks; ++block) {
    const float* w = p.w + block * p.size;
    uint8_t* out = codes + block * p.size;
    const float inverse = scales[block] != 0.0f ? 1.0f / scales[block] : 0.0f;
    int64_t j = 0;
    for (; j + kLanes <= p.size; j += kLanes) store_bytes(codes_of(w + j, inverse, zeros[block], top), out + j);
    if (j == p.size) continue;
    float rest[kLanes] = {};
    uint8_t rest_codes[kLanes];
    __builtin_memcpy(rest, w + j, static_cast<size_t>(p.size - j) * sizeof(float));
    store_bytes(codes_of(rest, inverse, zeros[block], top), rest_codes);
    __builtin_memcpy(out + j, rest_codes, static_cast<size_t>(p.size - j));
  }
}

}  // namespace
}  // namespace kerf
