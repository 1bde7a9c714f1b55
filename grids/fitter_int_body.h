// Scale search and rounding for blocks of integers, several blocks side by side: lane l of every vector belongs to
// block l, so that the sums of a block run in the same order whatever the width of the machine's registers, and no step
// needs a reduction across lanes. Included once by each fitter_int_<isa>.cc, which defines kLanes (the floats in one of
// its registers), Vec, fma_of(a, b, c) = a * b + c rounded once, and transpose(from, stride, to): lane l of to[j]
// becomes from[l * stride + j] for j < kLanes. Everything here is local to that file.
//
// For integer codes q in [lo, hi] (lo = -zero) and scale s the error of a block is E(s, q) = sum v (w - s q)^2. Given
// q, the best scale is s = sum(v w q) / sum(v q^2), and then E = sum(v w^2) - sum(v w q)^2 / sum(v q^2). The search
// tries a few roundings q = round(w / s0), keeps the one with the largest gain sum(v w q)^2 / sum(v q^2), and takes its
// best scale. That scale, rounded to its stored form, is then compared by its true error with the plain one (below), so
// the result is never worse than rounding with the scale that the largest weight dictates.
#pragma once

#include "grids/fitter.h"

namespace kerf {
namespace {

typedef int32_t Mask __attribute__((vector_size(kLanes * sizeof(float))));

inline Vec splat(float x) { return Vec{} + x; }
inline Vec select(Mask m, Vec a, Vec b) { return (Vec)((m & (Mask)a) | (~m & (Mask)b)); }
inline Vec min_of(Vec a, Vec b) { return a < b ? a : b; }
inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }
inline Vec abs_of(Vec a) { return (Vec)((Mask)a & 0x7fffffff); }

// 1.5 * 2^23: a number below 2^22 in magnitude that has passed through it is an integer, ties to even. What is larger
// keeps its sign, so clamping afterwards to integers lo and hi gives the nearest integer in [lo, hi] to w * inverse.
constexpr float kRound = 12582912.0f;
inline Vec code_of(Vec w, Vec inverse, Vec lo, Vec hi) {
  return min_of(max_of(fma_of(w, inverse, splat(kRound)) - kRound, lo), hi);
}

// Where the largest weight of a block may land, in units of the scale: the first kNegative at -(half + delta), with
// half = 2^(bits-1), the rest at half - 1 + delta, the end of the positive side. Deltas above 0.5 clip it. Found by the
// error reached against the time it costs (bench/RESULTS.md).
constexpr float kDelta[] = {-0.75f, -0.45f, -0.2f, 0.0f, 0.2f, 0.45f, 0.8f, 1.3f, 0.0f, 0.3f, 0.8f, 1.3f};
constexpr int kNegative = 8, kPositions = sizeof kDelta / sizeof kDelta[0];
// Asymmetric blocks: the part of the range that is kept.
constexpr float kShrink[] = {1.0f, 0.97f, 0.94f, 0.91f, 0.87f, 0.82f};

struct Lanes {
  const Vec* w;
  const Vec* v;  // importance; read only when weighted
  int64_t size;
};

struct Gain {
  Vec wq, qq;
};

// Candidates that walk over the weights together: their sums do not wait for each other.
constexpr int kTogether = 3;
static_assert(kPositions % kTogether == 0);

template <bool kWeighted>
inline void gains(const Lanes& b, const Vec* inverse, Vec lo, Vec hi, Gain* g) {
  Gain sum[kTogether] = {};
  for (int64_t j = 0; j < b.size; ++j)
    for (int c = 0; c < kTogether; ++c) {
      const Vec q = code_of(b.w[j], inverse[c], lo, hi);
      const Vec vq = kWeighted ? b.v[j] * q : q;
      sum[c].wq = fma_of(b.w[j], vq, sum[c].wq);
      sum[c].qq = fma_of(q, vq, sum[c].qq);
    }
  for (int c = 0; c < kTogether; ++c) g[c] = sum[c];
}

// The best scale for the codes that one scale gives.
template <bool kWeighted>
inline Vec best_scale_for(const Lanes& b, Vec inverse, Vec lo, Vec hi) {
  Gain g{};
  for (int64_t j = 0; j < b.size; ++j) {
    const Vec q = code_of(b.w[j], inverse, lo, hi);
    const Vec vq = kWeighted ? b.v[j] * q : q;
    g.wq = fma_of(b.w[j], vq, g.wq);
    g.qq = fma_of(q, vq, g.qq);
  }
  return select(g.qq > 0.0f, g.wq / g.qq, Vec{});
}

template <bool kWeighted>
inline Vec error(const Lanes& b, Vec scale, Vec lo, Vec hi) {
  const Vec inverse = select(scale != 0.0f, 1.0f / scale, Vec{});
  Vec e{};
  for (int64_t j = 0; j < b.size; ++j) {
    const Vec d = fma_of(-scale, code_of(b.w[j], inverse, lo, hi), b.w[j]);
    e = fma_of(kWeighted ? b.v[j] * d : d, d, e);
  }
  return e;
}

typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(float))));

// round_to(type, scale) lane by lane, as core/dtype.cc does it; and zero where a reciprocal would overflow.
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

template <bool kWeighted>
inline void search_symmetric(const Lanes& b, int bits, Dtype type, Vec* scale) {
  const float half = static_cast<float>(1 << (bits - 1));
  const Vec lo = splat(-half), hi = splat(half - 1);
  Vec biggest{};  // the weight of largest magnitude, with its sign
  for (int64_t j = 0; j < b.size; ++j) biggest = select(abs_of(b.w[j]) > abs_of(biggest), b.w[j], biggest);
  const Vec unit = select(biggest != 0.0f, 1.0f / biggest, Vec{});

  // Plain scales: llama.cpp's for 4 bits (largest weight to the code of largest magnitude), absmax / (half - 1) for 8.
  const Vec plain = stored(bits < 8 ? biggest / -half : biggest / (half - 1), type);

  Vec best_scale = plain, best_gain = splat(-1.0f);
  for (int i = 0; i < kPositions; i += kTogether) {
    Vec inverse[kTogether];
    for (int c = 0; c < kTogether; ++c)
      inverse[c] = unit * (i + c < kNegative ? -half - kDelta[i + c] : half - 1 + kDelta[i + c]);
    Gain g[kTogether];
    gains<kWeighted>(b, inverse, lo, hi, g);
    for (int c = 0; c < kTogether; ++c) {
      const Vec s = select(g[c].qq > 0.0f, g[c].wq / g[c].qq, Vec{});
      const Vec reached = s * g[c].wq;
      const Mask better = reached > best_gain;
      best_gain = select(better, reached, best_gain);
      best_scale = select(better, s, best_scale);
    }
  }

  const Vec refined = stored(best_scale, type);
  const Mask keep = error<kWeighted>(b, refined, lo, hi) < error<kWeighted>(b, plain, lo, hi);
  *scale = select(keep, refined, plain);
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
  for (float shrink : kShrink) {
    const Vec s0 = stored(range * (shrink / top), type);
    const Vec inverse = select(s0 != 0.0f, 1.0f / s0, Vec{});
    const Vec z = code_of(-low * shrink, inverse, Vec{}, splat(top));
    const Vec q = best_scale_for<kWeighted>(b, inverse, -z, top - z);
    for (const Vec s : {s0, stored(q, type)}) {
      const Vec e = error<kWeighted>(b, s, -z, top - z);
      const Mask better = e < best_error;
      best_error = select(better, e, best_error);
      best_scale = select(better, s, best_scale);
      best_zero = select(better, z, best_zero);
    }
  }
  *scale = best_scale;
  *zero = best_zero;
}

// Lane l of `to` receives the block that begins at from(l); lanes without a block are zero.
template <class From>
inline void gather(int64_t lanes, int64_t size, From from, Vec* to) {
  float* out = reinterpret_cast<float*>(to);
  for (int64_t l = 0; l < kLanes; ++l) {
    const float* block = l < lanes ? from(l) : nullptr;
    for (int64_t j = 0; j < size; ++j) out[j * kLanes + l] = block ? block[j] : 0.0f;
  }
}

// The same for as many blocks as there are lanes, one after the other: most of all blocks.
inline void gather_full(int64_t size, const float* from, Vec* to) {
  for (int64_t j = 0; j < size; j += kLanes) transpose(from + j, size, to + j);
}

void search(const IntFitProblem& p, float* scales, float* zeros) {
  Vec* w = reinterpret_cast<Vec*>(p.scratch);
  Vec* v = w + p.size;
  for (int64_t first = 0; first < p.blocks; first += kLanes) {
    const int64_t here = p.blocks - first < kLanes ? p.blocks - first : kLanes;
    gather(
        here, p.size, [&](int64_t l) { return p.w + (first + l) * p.size; }, w);
    if (p.importance)
      gather(
          here, p.size, [&](int64_t l) { return p.importance + (first + l) % p.importance_blocks * p.size; }, v);
    const Lanes b{w, v, p.size};
    Vec scale{}, zero = splat(static_cast<float>(1 << (p.bits - 1)));
    if (p.symmetric && p.importance) search_symmetric<true>(b, p.bits, p.stored, &scale);
    if (p.symmetric && !p.importance) search_symmetric<false>(b, p.bits, p.stored, &scale);
    if (!p.symmetric && p.importance) search_asymmetric<true>(b, p.bits, p.stored, &scale, &zero);
    if (!p.symmetric && !p.importance) search_asymmetric<false>(b, p.bits, p.stored, &scale, &zero);
    for (int64_t l = 0; l < here; ++l) {
      scales[first + l] = scale[l];
      zeros[first + l] = zero[l];
    }
  }
}

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

inline Bytes codes_of(Vec w, Vec inverse, Vec lo, Vec hi, Vec zero) {
  const Vec code = code_of(w, inverse, lo, hi) + zero;
  return __builtin_convertvector(__builtin_convertvector(code, Mask), Bytes);
}

void encode(const IntFitProblem& p, const float* scales, const float* zeros, uint8_t* codes) {
  const float top = static_cast<float>((1 << p.bits) - 1);
  for (int64_t block = 0; block < p.blocks; ++block) {
    const float* w = p.w + block * p.size;
    uint8_t* out = codes + block * p.size;
    const Vec inverse = splat(scales[block] != 0.0f ? 1.0f / scales[block] : 0.0f);
    const Vec zero = splat(zeros[block]), lo = -zero, hi = top - zero;
    int64_t j = 0;
    for (; j + kLanes <= p.size; j += kLanes) {
      Vec x;
      __builtin_memcpy(&x, w + j, sizeof x);
      const Bytes q = codes_of(x, inverse, lo, hi, zero);
      __builtin_memcpy(out + j, &q, kLanes);
    }
    if (j == p.size) continue;
    Vec x{};
    __builtin_memcpy(&x, w + j, static_cast<size_t>(p.size - j) * sizeof(float));
    const Bytes q = codes_of(x, inverse, lo, hi, zero);
    __builtin_memcpy(out + j, &q, static_cast<size_t>(p.size - j));
  }
}

}  // namespace
}  // namespace kerf
