// Scale search and rounding for blocks of integers, several blocks side by side (lanes.h): the sums of a block run in
// the same order whatever the width of the machine's registers. Included once by each int_search_<isa>.cc.
//
// For integer codes q in [lo, hi] (lo = -zero) and scale s the error of a block is E(s, q) = sum v (w - s q)^2. Given
// q, the best scale is s = sum(v w q) / sum(v q^2), and then E = sum(v w^2) - sum(v w q)^2 / sum(v q^2). The search
// tries a few roundings q = round(w / s0), keeps the one with the largest gain sum(v w q)^2 / sum(v q^2), and takes its
// best scale.
#pragma once

#include "grids/search/int_search.h"
#include "grids/search/integer_search.h"
#include "grids/search/lanes.h"

namespace kerf {
namespace {

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
  const Gain best = best_of<kAll>(g);
  return best.wq / best.qq;
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
  Vec best_error = splat(__builtin_inff());
  Vec best_scale = stored(range * (1.0f / top), type);  // in case no error is finite
  Vec best_zero = code_of(-low, select(best_scale != 0.0f, 1.0f / best_scale, Vec{}), Vec{}, splat(top));
  for (int i = 0; i < (b.size > kLargeBlock ? kShrinks : kShrinks - 2); ++i) {
    const float shrink = kShrink[i];
    const Vec s0 = stored(range * (shrink / top), type);
    const Vec inverse = select(s0 != 0.0f, 1.0f / s0, Vec{});
    const Vec z = code_of(-low * shrink, inverse, Vec{}, splat(top));
    const Gain g = gain<kWeighted>(b, inverse, -z, top - z);
    for (const Vec s : {s0, select(g.qq > 0.0f, stored(g.wq / g.qq, type), s0)}) {
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

void search(const IntFitProblem& p, float* scales, float* zeros) {
  Vec* w = reinterpret_cast<Vec*>(p.scratch);
  Vec* v = w + p.size + 1;  // importance, or the integers
  const Lanes b{w, v, p.size};
  float past_low[kAll];
  for (int c = 0; c < kAll; ++c) past_low[c] = -static_cast<float>(1 << (p.bits - 1)) - kPast[c];
  for (int64_t first = 0; first < p.blocks; first += kLanes) {
    const int64_t here = gather_blocks(p, first, w, v);
    Vec scale{}, zero = splat(static_cast<float>(1 << (p.bits - 1)));
    if (!p.symmetric && p.importance) search_asymmetric<true>(b, p.bits, p.stored, &scale, &zero);
    if (!p.symmetric && !p.importance) search_asymmetric<false>(b, p.bits, p.stored, &scale, &zero);
    if (p.symmetric && p.importance) scale = stored(search_weighted(b, p.bits), p.stored);
    if (p.symmetric && !p.importance) {
      Pairs* x = reinterpret_cast<Pairs*>(v);
      const Best best = p.size <= kSmallBlock ? search_integers<kUnclipped, false>(b, p.bits, past_low, x)
                                              : search_integers<kAll, true>(b, p.bits, past_low, x);
      scale = stored(best.scale, p.stored);
    }
    for (int64_t l = 0; l < here; ++l) {
      scales[first + l] = scale[l];
      zeros[first + l] = zero[l];
    }
  }
}

inline Vec loaded(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// The code stands in the lowest byte of the rounded sum, zero point included.
inline Ints codes_of(const float* w, float inverse, float zero, float top) {
  return (Ints)min_of(max_of(loaded(w) * inverse + (kRound + zero), splat(kRound)), splat(kRound + top));
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

template <bool kAdds>
inline void round_lanes(float top, const float* scale, const float* offset, const float* x, uint8_t* codes,
                        float* values) {
  const Vec s = loaded(scale), o = loaded(offset), inverse = select(s != 0.0f, 1.0f / s, Vec{});
  const Vec rounded =
      kAdds ? ((loaded(x) - o) * inverse + kRound) - kRound : (loaded(x) * inverse + (kRound + o)) - kRound;
  const Vec code = min_of(max_of(rounded, Vec{}), splat(top));
  const Vec value = kAdds ? s * code + o : s * (code - o);
  __builtin_memcpy(values, &value, sizeof value);
  store_bytes(__builtin_convertvector(code, Ints), codes);
}

template <bool kAdds>
void round_all(float top, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
               float* values) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) round_lanes<kAdds>(top, scale + i, offset + i, x + i, codes + i, values + i);
  if (i == n) return;
  const size_t rest = static_cast<size_t>(n - i), bytes = rest * sizeof(float);
  float s[kLanes] = {}, o[kLanes] = {}, w[kLanes] = {}, rest_values[kLanes];
  uint8_t rest_codes[kLanes];
  __builtin_memcpy(s, scale + i, bytes);
  __builtin_memcpy(o, offset + i, bytes);
  __builtin_memcpy(w, x + i, bytes);
  round_lanes<kAdds>(top, s, o, w, rest_codes, rest_values);
  __builtin_memcpy(codes + i, rest_codes, rest);
  __builtin_memcpy(values + i, rest_values, bytes);
}

void round(float top, bool adds, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
           float* values) {
  (adds ? round_all<true> : round_all<false>)(top, scale, offset, x, n, codes, values);
}

}  // namespace
}  // namespace kerf
