// The search of block_search.h, several blocks side by side (lanes.h). Included once by each block_search_<isa>.cc.
//
// Several starts, each with the best scale and offset for the codes it gives; the best one once more; then what can be
// stored near it.
#pragma once

#include "grids/search/block_search.h"
#include "grids/search/quadratic_error.h"

namespace kerf {
namespace {

// Affine: how many codes of the range are cut off at the start, at the low and at the high end. Roundings differ, and
// one of several is luckier; all of them with importance, where the error is the sum of fewer weights that matter.
// Without it, in the order in which another one helps real weights most, the more the fewer bits there are: beyond 5 of
// 5 bits and 7 of 4 bits a thousandth of the error is left to gain.
constexpr float kCut[][2] = {{0, 0},        {0.3f, -0.9f},  {-0.9f, 0.3f},  {-0.5f, -0.5f}, {0.6f, 0.6f},
                             {0.0f, 1.2f},  {1.2f, 0.0f},   {0.4f, 1.5f},   {1.5f, 0.4f},   {1.5f, 1.5f},
                             {2.4f, 2.4f},  {3.7f, 3.7f},   {-0.2f, -0.2f}, {0.2f, 0.2f},   {0.6f, -0.2f},
                             {-0.2f, 0.6f}, {1.0f, 1.0f},   {-0.8f, -0.8f}, {0.2f, 0.8f},   {0.8f, 0.2f},
                             {-0.5f, 0.0f}, {0.0f, -0.5f},  {-0.5f, 1.0f},  {1.0f, -0.5f},  {1.9f, 1.0f},
                             {1.0f, 1.9f},  {-1.2f, -1.2f}, {-1.2f, 0.2f},  {0.2f, -1.2f},  {0.4f, 0.4f}};
constexpr int kCuts = sizeof kCut / sizeof kCut[0];
constexpr int plain_cuts(int bits) { return bits >= 5 ? 5 : bits == 4 ? 7 : 12; }

// Alphabets: the largest weight becomes so many times the largest number, and so many times the smallest where that is
// another; the last ones with few numbers only, for which clipping more is best. In that order too: ten of sixteen
// leave 0.4 % to gain.
constexpr float kTimes[] = {1.0f, 1.06f, 0.88f, 1.13f, 0.97f, 0.94f, 1.03f, 0.91f, 1.3f, 1.6f, 2.0f, 2.5f, 3.2f, 4.0f};
constexpr int kTimesOfMany = 8, kPlainTimesOfTwo = 5, kAllTimes = sizeof kTimes / sizeof kTimes[0];
constexpr size_t kMany = 8;

struct Found {
  Vec scale{}, offset{}, error = splat(__builtin_inff());
};

// What the parameters that are best for the codes of (scale, offset) come to, if better.
template <bool kWeighted, bool kAffine, class Numbers>
inline void consider(const Vec* w, const Vec* v, int64_t size, const Numbers& numbers, Vec scale, Vec offset,
                     Found* best) {
  const Sums s = sums_at<kWeighted, kAffine>(w, v, size, numbers, scale, offset);
  const Move m = best_move<kAffine, true>(s, scale, offset);
  const Vec error = error_after<kAffine>(s, m);
  const Ints better = error < best->error;
  best->error = select(better, error, best->error);
  best->scale = select(better, scale + m.a, best->scale);
  if (kAffine) best->offset = select(better, offset + m.b, best->offset);
}

inline Vec stored_lanes(const FlatFitProblem& p, Vec x, int steps) {
  if (p.type == Dtype::f16 || p.type == Dtype::bf16 || p.type == Dtype::f32) return stored(x, p.type);
  for (int l = 0; l < kLanes; ++l) x[l] = p.stored(p, x[l], steps);
  return x;
}

template <bool kWeighted, class Numbers>
Found search_affine(const FlatFitProblem& p, const Vec* w, const Vec* v, Vec low, Vec high, const Numbers& numbers) {
  const float top = static_cast<float>((1 << p.bits) - 1);
  const Vec range = high - low;
  Found best;
  best.scale = range * (1.0f / top);  // in case no error is finite
  best.offset = low;
  for (int i = 0; i < (kWeighted ? kCuts : plain_cuts(p.bits)); ++i) {
    const float begin = kCut[i][0] / top, end = kCut[i][1] / top;
    if (begin + end > 0.7f) continue;
    consider<kWeighted, true>(w, v, p.size, numbers, range * ((1.0f - begin - end) / top), low + range * begin, &best);
  }
  consider<kWeighted, true>(w, v, p.size, numbers, best.scale, best.offset, &best);
  best.scale = stored_lanes(p, best.scale, 0);
  // The offset makes up for the rounding of the scale.
  const Sums s = sums_at<kWeighted, true>(w, v, p.size, numbers, best.scale, best.offset);
  best.offset = stored_lanes(p, best.offset + s.r * reciprocal(s.n), 0);
  return best;
}

template <bool kWeighted>
Found search_listed(const FlatFitProblem& p, const Vec* w, const Vec* v, Vec low, Vec high) {
  const FromTable numbers{*p.level_table};
  const float first = p.level_table->ascending.front(), last = p.level_table->ascending.back();
  const bool both = first == -last;  // scales need no sign then
  Vec most = select(high > -low, high, low);
  if (both) most = abs_of(most);
  Found best;
  best.scale = most * (1.0f / last);
  const bool many = p.level_table->ascending.size() >= kMany;
  const int starts = !many ? kAllTimes : both || kWeighted ? kTimesOfMany : kPlainTimesOfTwo;
  for (int i = 0; i < starts && p.type != Dtype::f8_e8m0; ++i) {  // powers of two: there is little to choose from
    consider<kWeighted, false>(w, v, p.size, numbers, most * (1.0f / (kTimes[i] * last)), Vec{}, &best);
    if (!both) consider<kWeighted, false>(w, v, p.size, numbers, most * (1.0f / (kTimes[i] * first)), Vec{}, &best);
  }
  const Vec wanted = best.scale;
  best.scale = stored_lanes(p, wanted, 0);
  if (p.steps == 0) return best;
  best.error = sums_at<kWeighted, false>(w, v, p.size, numbers, best.scale, Vec{}).rr;
  for (int step = -p.steps; step <= p.steps; ++step) {
    const Vec scale = stored_lanes(p, wanted, step);
    const Vec error = sums_at<kWeighted, false>(w, v, p.size, numbers, scale, Vec{}).rr;
    const Ints better = error < best.error;
    best.error = select(better, error, best.error);
    best.scale = select(better, scale, best.scale);
  }
  return best;
}

Even codes_of(const FlatFitProblem& p) { return {Vec{}, splat(static_cast<float>((1 << p.bits) - 1))}; }

void search(const FlatFitProblem& p, float* scratch, float* scales, float* offsets) {
  Vec* w = reinterpret_cast<Vec*>(scratch);
  Vec* v = w + p.size + 1;
  for (int64_t first = 0; first < p.blocks; first += kLanes) {
    const int64_t here = gather_blocks(p, first, w, v);
    Vec low = w[0], high = w[0];
    for (int64_t j = 1; j < p.size; ++j) {
      low = min_of(low, w[j]);
      high = max_of(high, w[j]);
    }
    Found best;
    if (p.level_table)
      best = p.importance ? search_listed<true>(p, w, v, low, high) : search_listed<false>(p, w, v, low, high);
    else
      best = p.importance ? search_affine<true>(p, w, v, low, high, codes_of(p))
                          : search_affine<false>(p, w, v, low, high, codes_of(p));
    for (int64_t l = 0; l < here; ++l) {
      scales[first + l] = best.scale[l];
      offsets[first + l] = best.offset[l];
    }
  }
}

void encode(const FlatFitProblem& p, const float* scales, const float* offsets, uint8_t* codes) {
  const float top = static_cast<float>((1 << p.bits) - 1);
  const Even even{splat(-p.zero), splat(top - p.zero)};
  for (int64_t b = 0; b < p.blocks; ++b) {
    const Vec inverse = select(splat(scales[b]) != 0.0f, splat(1.0f / scales[b]), Vec{});
    for (int64_t j = b * p.size; j < (b + 1) * p.size; j += kLanes) {
      Vec x;
      __builtin_memcpy(&x, p.w + j, sizeof x);
      const Vec code = p.level_table ? FromTable{*p.level_table}.code(x * inverse) + kRound
                                     : even((x - offsets[b]) * inverse) + (kRound + p.zero);
      store_bytes((Ints)code, codes + j);  // the lowest bits
    }
  }
}

}  // namespace
}  // namespace kerf
