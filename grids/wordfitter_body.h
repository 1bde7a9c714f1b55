// The search of wordfitter.h, a group of weights in every lane (lanes.h). Included once by each wordfitter_<isa>.cc.
//
// v (w - s g)^2 = v s g (s g - 2 w) + v w^2, whose last term is the same for every entry. The others are added up for
// every half of an entry that there can be, so that an entry costs one addition.
#pragma once

#include "grids/forms.h"
#include "grids/wordfitter.h"

namespace kerf {
namespace {

constexpr int kMagnitudes = 8, kHalves = 81;

// sums[n] = the cost of the half whose ranks are the digits of n.
inline void half_sums(const WordProblem& p, int first_weight, int first_word, Vec* sums) {
  const int count = static_cast<int>(p.book.magnitude.size());
  Vec scale;
  __builtin_memcpy(&scale, p.scale + first_word, sizeof scale);
  int filled = 1;
  sums[0] = Vec{};
  for (int j = 0; j < p.book.weights / 2; ++j) {
    Vec w, v, cost[kMagnitudes];
    const int at = (first_weight + j) * p.words + first_word;
    __builtin_memcpy(&w, p.w + at, sizeof w);
    __builtin_memcpy(&v, p.v + at, sizeof v);
    for (int m = 0; m < count; ++m) {
      const Vec x = scale * p.book.magnitude[static_cast<size_t>(m)];
      cost[m] = v * (x * (x - 2.0f * w));
    }
    for (int m = count; m-- > 0;)
      for (int n = 0; n < filled; ++n) sums[m * filled + n] = sums[n] + cost[m];
    filled *= count;
  }
}

void choose(const WordProblem& p, int32_t* entry) {
  const uint8_t* halves = p.book.halves.data();
  for (int word = 0; word < p.words; word += kLanes) {
    Vec first[kHalves], second[kHalves];
    half_sums(p, 0, word, first);
    half_sums(p, p.book.weights / 2, word, second);
    Vec least = splat(__builtin_inff());
    Ints best{};
    const auto keep = [](Vec cost, Ints e, Vec& low, Ints& at) {
      at = cost < low ? e : at;
      low = min_of(cost, low);
    };
    // Entries with the same second half stand together.
    for (int e = 0; e < p.book.entries;) {
      Vec low = first[halves[2 * e]];
      Ints at = Ints{} + e;
      const uint8_t same = halves[2 * e + 1];
      for (++e; e < p.book.entries && halves[2 * e + 1] == same; ++e) keep(first[halves[2 * e]], Ints{} + e, low, at);
      keep(low + second[same], at, least, best);
    }
    __builtin_memcpy(entry + word, &best, sizeof best);
  }
}

inline Vec loaded(const float* from) {
  Vec x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
inline void put(Vec x, float* to) { __builtin_memcpy(to, &x, sizeof x); }

void rate(const WordProblem& p, const int32_t* entry, float* g, float* wg, float* gg) {
  const int weights = p.book.weights;
  for (int word = 0; word < p.words; word += kLanes) {
    Ints at;
    __builtin_memcpy(&at, entry + word, sizeof at);
    at *= weights;
    Vec with{}, square{};
    for (int j = 0; j < weights; ++j) {
      const Vec x = gathered(p.book.values.data(), at + j), vx = loaded(p.v + j * p.words + word) * x;
      put(x, g + j * p.words + word);
      with += vx * loaded(p.w + j * p.words + word);
      square += vx * x;
    }
    put(with, wg + word);
    put(square, gg + word);
  }
}

void rate_alone(const WordProblem& p, float* wg, float* gg) {
  const Listed nearest{p.book.alone};
  for (int word = 0; word < p.words; word += kLanes) {
    const Vec inverse = reciprocal(loaded(p.scale + word));
    Vec with{}, square{};
    for (int j = 0; j < p.book.weights; ++j) {
      const Vec w = loaded(p.w + j * p.words + word), x = nearest(w * inverse),
                vx = loaded(p.v + j * p.words + word) * x;
      with += vx * w;
      square += vx * x;
    }
    put(with, wg + word);
    put(square, gg + word);
  }
}

}  // namespace
}  // namespace kerf
