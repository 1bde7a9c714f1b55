// Scale search and rounding for blocks of e4m3 numbers. Included once by each fp8_search_<isa>.cc, which defines kLanes
// (the floats in one of its registers), Vec and kTogether. Sums go through sixteen lanes, element j of a row in lane
// j % 16, whatever the width of the machine's registers, and no multiplication is fused with an addition: the same bits
// everywhere. Everything here is local to that file.
//
// The spacing of e4m3 grows with the magnitude, so halving a scale changes nothing but what saturates or becomes
// subnormal: the error as a function of the scale repeats itself, nearly, every octave, and depends on where within an
// octave the mass of the weights falls. The search tries one octave upwards from absmax / 448, the smallest scale at
// which nothing saturates, in kSteps steps. For codes c and scale s the error is sum v (w - s c)^2; given c the best
// scale is sum(v w c) / sum(v c^2), and lowers sum(v w^2) by sum(v w c)^2 / sum(v c^2), which is what is compared.
#pragma once

#include "grids/search/fp8_search.h"

namespace kerf {
namespace {

typedef int32_t Mask __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(float))));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

constexpr int kSumLanes = 16, kRegisters = kSumLanes / kLanes;

inline Vec splat(float x) { return Vec{} + x; }
inline Vec select(Mask m, Vec a, Vec b) { return (Vec)((m & (Mask)a) | (~m & (Mask)b)); }

inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline Vec load(const float* p, int64_t n) {
  Vec v{};
  if (n > 0) __builtin_memcpy(&v, p, static_cast<uint64_t>(n < kLanes ? n : kLanes) * sizeof(float));
  return v;
}

constexpr float kLargest = 448, kSmallestNormal = 0x1p-6f, kSubnormalStep = 0x1p-9f;

// The e4m3 number nearest to y. A normal one keeps 3 of float32's 23 mantissa bits; subnormals are multiples of 2^-9,
// which is the spacing of float32 from 2^14 to 2^15.
inline Vec rounded(Vec y) {
  const Bits sign = (Bits)y & 0x80000000u;
  Vec m = (Vec)((Bits)y ^ sign);
  m = m < kLargest ? m : splat(kLargest);
  const Bits bits = (Bits)m;
  const Vec normal = (Vec)((bits + 0x7ffffu + ((bits >> 20) & 1u)) & 0xfff00000u);
  const Vec subnormal = (m + 0x1p14f) - 0x1p14f;
  return (Vec)((Bits)select(m < kSmallestNormal, subnormal, normal) | sign);
}

// The code of an e4m3 number: exponent bias 7 instead of 127, 3 mantissa bits instead of 23.
inline Bytes code_of(Vec value) {
  const Bits sign = (Bits)value & 0x80000000u;
  const Vec m = (Vec)((Bits)value ^ sign);
  const Mask subnormal = __builtin_convertvector(m * (1 / kSubnormalStep), Mask);
  const Mask normal = (Mask)((Bits)m >> 20) - ((127 - 7) << 3);
  const Mask small = m < kSmallestNormal;
  return __builtin_convertvector(((subnormal & small) | (normal & ~small)) | (Mask)(sign >> 24), Bytes);
}

// 2^(i / 16).
constexpr int kSteps = 16;
constexpr float kStep[kSteps] = {1.0f,        1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f,
                                 1.29683955f, 1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f,
                                 1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f};
static_assert(kSteps % kTogether == 0);

struct Sums {
  Vec wc[kTogether][kRegisters], cc[kTogether][kRegisters];
};

template <bool kWeighted>
inline void add_to(Sums& s, int h, Vec w, Vec v, const float* inverse) {
  for (int c = 0; c < kTogether; ++c) {
    const Vec q = rounded(w * inverse[c]);
    const Vec vq = kWeighted ? v * q : q;
    s.wc[c][h] = s.wc[c][h] + w * vq;
    s.cc[c][h] = s.cc[c][h] + q * vq;
  }
}

template <bool kWeighted>
inline Sums sums(const Fp8Block& b, int64_t first, int64_t last, const float* inverse) {
  Sums s{};
  for (int64_t r = first; r < last; ++r) {
    const float* w = b.w + r * b.stride;
    int64_t j = 0;
    for (; j + kSumLanes <= b.cols; j += kSumLanes)
      for (int h = 0; h < kRegisters; ++h)
        add_to<kWeighted>(s, h, load(w + j + h * kLanes), kWeighted ? load(b.importance + j + h * kLanes) : Vec{},
                          inverse);
    for (int h = 0; j < b.cols && h < kRegisters; ++h) {
      const int64_t at = j + h * kLanes, left = b.cols - at;
      if (left > 0)
        add_to<kWeighted>(s, h, load(w + at, left), kWeighted ? load(b.importance + at, left) : Vec{}, inverse);
    }
  }
  return s;
}

inline double total(const Vec* registers) {
  double t = 0;
  for (int h = 0; h < kRegisters; ++h)
    for (int l = 0; l < kLanes; ++l) t += static_cast<double>(registers[h][l]);
  return t;
}

// Rows whose float32 sums are taken together before they go on in double: some 4096 weights.
inline int64_t strip_rows(const Fp8Block& b) { return b.cols < 4096 ? 4096 / b.cols : 1; }

inline float largest(const Fp8Block& b) {
  Mask most{};  // magnitudes compare like integers
  for (int64_t r = 0; r < b.rows; ++r) {
    const float* w = b.w + r * b.stride;
    for (int64_t j = 0; j < b.cols; j += kLanes) {
      const Mask m = (Mask)(j + kLanes <= b.cols ? load(w + j) : load(w + j, b.cols - j)) & 0x7fffffff;
      most = m > most ? m : most;
    }
  }
  int32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits = most[l] > bits ? most[l] : bits;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

template <bool kWeighted>
inline float search_weighted(const Fp8Block& b, float plain) {
  float inverse[kSteps];
  double wc[kSteps] = {}, cc[kSteps] = {};
  for (int i = 0; i < kSteps; ++i) inverse[i] = 1.0f / (plain * kStep[i]);
  const int64_t strip = strip_rows(b);
  for (int64_t r = 0; r < b.rows; r += strip)
    for (int i = 0; i < kSteps; i += kTogether) {
      const Sums s = sums<kWeighted>(b, r, r + strip < b.rows ? r + strip : b.rows, inverse + i);
      for (int c = 0; c < kTogether; ++c) {
        wc[i + c] += total(s.wc[c]);
        cc[i + c] += total(s.cc[c]);
      }
    }
  double best_gain = -1, best = static_cast<double>(plain);
  for (int i = 0; i < kSteps; ++i) {
    if (!(cc[i] > 0)) continue;
    const double gain = wc[i] / cc[i] * wc[i];
    if (gain > best_gain) {
      best_gain = gain;
      best = wc[i] / cc[i];
    }
  }
  return static_cast<float>(best);
}

Fp8Search::Found search(const Fp8Block& b) {
  const float most = largest(b);
  if (most < 0x1p-100f) return {0, 0};
  const float plain = most / kLargest;
  return {plain, b.importance ? search_weighted<true>(b, plain) : search_weighted<false>(b, plain)};
}

inline Vec square(Vec w, Vec v, bool weighted, float scale) {
  const Vec d = scale != 0 ? w - scale * rounded(w / scale) : w;
  return weighted ? v * d * d : d * d;
}

double error(const Fp8Block& b, float scale) {
  const bool weighted = b.importance != nullptr;
  const int64_t strip = strip_rows(b);
  double e = 0;
  for (int64_t first = 0; first < b.rows; first += strip) {
    Vec s[kRegisters] = {};
    for (int64_t r = first; r < first + strip && r < b.rows; ++r)
      for (int64_t j = 0; j < b.cols; j += kSumLanes)
        for (int h = 0; h < kRegisters; ++h) {
          const int64_t at = j + h * kLanes, left = b.cols - at;
          if (left <= 0) continue;
          s[h] = s[h] + square(load(b.w + r * b.stride + at, left), weighted ? load(b.importance + at, left) : Vec{},
                               weighted, scale);
        }
    e += total(s);
  }
  return e;
}

void encode(const float* w, float scale, int64_t n, uint8_t* codes) {
  for (int64_t j = 0; j < n; j += kLanes) {
    const int64_t left = n - j < kLanes ? n - j : kLanes;
    const Vec x = left == kLanes ? load(w + j) : load(w + j, left);
    const Bytes q = scale != 0 ? code_of(rounded(x / scale)) : Bytes{};
    __builtin_memcpy(codes + j, &q, static_cast<uint64_t>(left));
  }
}

}  // namespace
}  // namespace kerf
