// The search of codebook_search.h, 16 weights of a row in every lane (rows.h): a sub-block, or half of one. Included
// once by each codebook_search_<isa>.cc.
//
// v (w - s g)^2 = v s g (s g - 2 w) + v w^2, whose last term is the same for every entry. The others are added up for
// every half of an entry that there can be; the cost of a first half carries its number in its lowest bits, so that an
// entry costs one minimum, and a second half one addition.
// The search of scales:
// 1. every sub-block on its own, all combinations allowed: a few scales, each with the best one for the numbers it
//    gives;
// 2. d by trial among a few numbers that F16 holds, under the quadratic forms of these numbers;
// 3. the step nearest to the wanted scale, and the next one on the side where its words want it.
#pragma once

#include "grids/search/codebook_search.h"
#include "grids/search/subblock_vector.h"

namespace kerf {
namespace {

constexpr int kRow = 16, kSuper = 256;  // weights of a lane, and of a super-block
constexpr int kHalfBits = 127;          // hold the number of a half

// How the books are built: numbers, of which half an entry has kHalf; the combinations of so many.
struct Threes {
  static constexpr int kNumbers = 3, kHalf = 4, kHalves = 81;
};
struct Eights {
  static constexpr int kNumbers = 8, kHalf = 2, kHalves = 64;
};

inline Ints either(Ints m, Ints a, Ints b) { return (m & a) | (~m & b); }
inline Vec reciprocal(Vec x) { return select(x > 0x1p-100f, 1.0f / x, Vec{}); }

// Over the weights of a lane: sums of v w g and v g^2. The error under a scale, up to what does not depend on it.
struct ErrorQuadratic {
  Vec wg, gg;
  Vec error(Vec scale) const { return scale * (scale * gg - 2.0f * wg); }
  Vec best_scale() const { return max_of(wg * reciprocal(gg), Vec{}); }
};
inline ErrorQuadratic operator+(const ErrorQuadratic& a, const ErrorQuadratic& b) { return {a.wg + b.wg, a.gg + b.gg}; }
inline ErrorQuadratic chosen(Ints m, const ErrorQuadratic& a, const ErrorQuadratic& b) {
  return {select(m, a.wg, b.wg), select(m, a.gg, b.gg)};
}

// A word for every eight weights of a lane.
struct Words {
  Ints half[kRow / 2] = {};
  Ints turned[2];    // which of eight weights gets the wrong sign; -1 for none
  Ints negative[2];  // all ones where delta is

  void take(Ints where, const Words& other) {
    for (int i = 0; i < kRow / 2; ++i) half[i] = either(where, other.half[i], half[i]);
    for (int i = 0; i < 2; ++i) turned[i] = either(where, other.turned[i], turned[i]);
    for (int i = 0; i < 2; ++i) negative[i] = either(where, other.negative[i], negative[i]);
  }
};

template <class Shape>
class Lanes {
 public:
  static constexpr int kEntry = 2 * Shape::kHalf;

  // `weights` of each lane, at w; 16, or 8 or 4 of one word.
  explicit Lanes(const Codebook* book = nullptr, int weights = kRow) : book_(book), weights_(weights) {}
  Vec w[kRow + 1], v[kRow + 1];  // one more for gather()

  // Takes signs apart.
  void prepare() {
    odd_[0] = odd_[1] = Ints{};
    if (!book_->has_signs()) return;
    for (int j = 0; j < weights_; ++j) {
      minus_[j] = (Ints)w[j] < 0;
      odd_[j / 8] ^= minus_[j];
      w[j] = abs_of(w[j]);
    }
  }
  Vec largest() const {
    Vec most{};
    for (int j = 0; j < weights_; ++j) most = max_of(abs_of(w[j]), most);
    return most;
  }

  // Every weight takes the number nearest to w / scale by itself.
  ErrorQuadratic alone(Vec scale) const {
    if (book_->beside == SignEncoding::delta_of_block) return alone(scale, 0, 16, delta_of(scale));
    if (book_->beside != SignEncoding::delta_of_word) return alone(scale, 0, weights_, Vec{});
    ErrorQuadratic sum{};
    for (int at = 0; at < weights_; at += 8) {
      const ErrorQuadratic up = alone(scale, at, at + 8, splat(1)), down = alone(scale, at, at + 8, splat(-1));
      sum = sum + chosen(down.error(scale) < up.error(scale), down, up);
    }
    return sum;
  }

  // The best words under a scale.
  ErrorQuadratic choose(Vec scale, Words& words) const {
    if (book_->beside != SignEncoding::delta_of_word) {
      const bool deltas = book_->beside == SignEncoding::delta_of_block;
      return choose(abs_of(scale), deltas ? delta_of(scale) : Vec{}, words).whole();
    }
    Words down;
    Halves up = choose(scale, splat(1), words), other = choose(scale, splat(-1), down);
    for (int i = 0; i < 2; ++i) {
      const Ints better = other.part[i].error(scale) < up.part[i].error(scale);
      up.part[i] = chosen(better, other.part[i], up.part[i]);
      words.negative[i] = better;
      for (int h = 0; h < 2; ++h) words.half[2 * i + h] = either(better, down.half[2 * i + h], words.half[2 * i + h]);
    }
    return up.whole();
  }

  // The codes of weights 4 q to 4 q + 3, a byte each.
  Ints codes(const Words& words, Vec scale, int q) const {
    Ints ranks{};
    for (int h = 0; h < 4 / Shape::kHalf; ++h)
      ranks |= gathered(book_->half_ranks.data(), words.half[q * 4 / Shape::kHalf + h]) << 8 * Shape::kHalf * h;
    const Ints four = Ints{} + 0x01010101;
    if (book_->beside == SignEncoding::delta_of_block) return either((Ints)scale < 0, 2 * four - ranks, ranks);
    if (book_->beside == SignEncoding::delta_of_word) return ranks | (words.negative[q / 2] & book_->flag * four);
    for (int i = 0; i < 4; ++i) ranks |= minus(words, 4 * q + i) & (book_->flag << 8 * i);
    return ranks;
  }
  // What they stand for.
  void values(const Words& words, Vec scale, Vec* out) const {
    for (int at = 0; at < weights_; at += kEntry) {
      numbers(words.half + at / Shape::kHalf, Vec{}, out + at);
      for (int j = at; j < at + kEntry; ++j) {
        if (book_->has_signs())
          out[j] = select(minus(words, j), -out[j], out[j]);
        else
          out[j] += book_->beside == SignEncoding::delta_of_block ? delta_of(scale)
                                                                  : select(words.negative[j / 8], splat(-1), splat(1));
        out[j] *= abs_of(scale);
      }
    }
  }

 private:
  struct Halves {
    ErrorQuadratic part[2] = {};  // of each word
    ErrorQuadratic whole() const { return part[0] + part[1]; }
  };

  static Vec delta_of(Vec scale) { return select((Ints)scale < 0, splat(-1), splat(1)); }
  Ints minus(const Words& words, int j) const { return minus_[j] ^ (words.turned[j / 8] == j % 8); }

  ErrorQuadratic alone(Vec scale, int begin, int end, Vec delta) const {
    const Vec inverse = reciprocal(abs_of(scale));
    ErrorQuadratic sum{};
    for (int j = begin; j < end; ++j) {
      const Vec x = w[j] * inverse - delta;
      Vec g = splat(book_->number[0]);
      for (int m = 1; m < Shape::kNumbers; ++m) {
        const float above = book_->number[static_cast<size_t>(m)], below = book_->number[static_cast<size_t>(m - 1)];
        g += select(x > (above + below) / 2, splat(above - below), Vec{});
      }
      g += delta;
      sum.wg += v[j] * g * w[j];
      sum.gg += v[j] * g * g;
    }
    return sum;
  }

  // Of each word the weight for which the wrong sign costs least, 4 v |w| s g, where there has to be one.
  void turn(const Vec* g, Words& words) const {
    for (int word = 0; word < weights_ / 8; ++word) {
      Vec least = splat(__builtin_inff());
      Ints at{};
      for (int j = 0; j < 8; ++j) {
        const int k = 8 * word + j;
        const Vec cost = g ? v[k] * w[k] * g[k] : v[k] * w[k];
        at = either(cost < least, Ints{} + j, at);
        least = min_of(cost, least);
      }
      words.turned[word] = at | ~odd_[word];
    }
  }

  Halves choose(Vec scale, Vec delta, Words& words) const {
    Vec wanted[kRow], g[kRow];
    words.turned[0] = words.turned[1] = words.negative[0] = words.negative[1] = Ints{} - 1;
    const bool even = book_->beside == SignEncoding::even_signs;
    if (even) turn(nullptr, words);
    const auto turned = [&](int j, Vec x) { return select(words.turned[j / 8] == j % 8, -x, x); };
    for (int j = 0; j < weights_; ++j) wanted[j] = even ? turned(j, w[j]) : w[j];
    int at = 0;
    for (; at + 2 * kEntry <= weights_; at += 2 * kEntry)
      entries<2>(wanted + at, v + at, scale, delta, words.half + at / Shape::kHalf);
    for (; at < weights_; at += kEntry) entries<1>(wanted + at, v + at, scale, delta, words.half + at / Shape::kHalf);
    for (at = 0; at < weights_; at += kEntry) numbers(words.half + at / Shape::kHalf, delta, g + at);
    if (even) turn(g, words);
    Halves sums;
    for (int j = 0; j < weights_; ++j) {
      const Vec vg = v[j] * g[j];
      ErrorQuadratic& to = sums.part[j / 8];
      to.wg += vg * (even ? turned(j, w[j]) : w[j]);
      to.gg += vg * g[j];
    }
    return sums;
  }

  // The numbers of an entry.
  void numbers(const Ints* half, Vec delta, Vec* g) const {
    for (int h = 0; h < 2; ++h) {
      const Ints bytes = gathered(book_->half_numbers.data(), half[h]);
      for (int i = 0; i < Shape::kHalf; ++i) g[Shape::kHalf * h + i] = float_of(bytes << (24 - 8 * i) >> 24) + delta;
    }
  }

  // sums[n] = the cost of the half whose ranks are the digits of n.
  void half_sums(const Vec* w, const Vec* v, Vec scale, Vec delta, Vec* sums) const {
    sums[0] = Vec{};
    int filled = 1;
    for (int j = 0; j < Shape::kHalf; ++j) {
      Vec cost[Shape::kNumbers];
      for (int m = 0; m < Shape::kNumbers; ++m) {
        const Vec x = scale * (book_->number[static_cast<size_t>(m)] + delta);
        cost[m] = v[j] * (x * (x - 2.0f * w[j]));
      }
      for (int m = Shape::kNumbers; m-- > 0;)
        for (int n = 0; n < filled; ++n) sums[m * filled + n] = sums[n] + cost[m];
      filled *= Shape::kNumbers;
    }
  }

  // The halves of the best of kCount neighbouring entries.
  template <int kCount>
  void entries(const Vec* w, const Vec* v, Vec scale, Vec delta, Ints* half) const {
    Vec first[kCount][Shape::kHalves], second[kCount][Shape::kHalves];
    for (int e = 0; e < kCount; ++e) {
      half_sums(w + e * kEntry, v + e * kEntry, scale, delta, first[e]);
      half_sums(w + e * kEntry + Shape::kHalf, v + e * kEntry + Shape::kHalf, scale, delta, second[e]);
      for (int n = 0; n < Shape::kHalves; ++n) first[e][n] = (Vec)(((Ints)first[e][n] & ~kHalfBits) | n);
    }
    Vec least[kCount];
    const uint8_t* at = book_->firsts.data();
    for (int e = 0; e < kCount; ++e) {
      least[e] = splat(__builtin_inff());
      half[2 * e] = Ints{} + *at;
      half[2 * e + 1] = Ints{} + book_->groups[0].second;
    }
    for (const Codebook::Group& group : book_->groups) {
      Vec low[kCount];
      for (int e = 0; e < kCount; ++e) low[e] = first[e][*at];
      for (const uint8_t* end = at++ + group.count; at < end; ++at)
        for (int e = 0; e < kCount; ++e) low[e] = min_of(first[e][*at], low[e]);
      for (int e = 0; e < kCount; ++e) {
        const Vec sum = low[e] + second[e][group.second];
        half[2 * e] = sum < least[e] ? (Ints)low[e] & kHalfBits : half[2 * e];
        half[2 * e + 1] = sum < least[e] ? Ints{} + group.second : half[2 * e + 1];
        least[e] = min_of(sum, least[e]);
      }
    }
  }

  const Codebook* book_;
  int weights_;
  Ints minus_[kRow], odd_[2];
};

// A super-block.
template <class Shape>
class Block {
 public:
  explicit Block(const WordFitProblem& p) : p_(p) {
    for (Lanes<Shape>& lanes : lanes_) lanes = Lanes<Shape>(&p.book);
  }

  void load(int64_t super) {
    const float* rows[kLanes];
    for (int part = 0; part < kParts; ++part) {
      Lanes<Shape>& lanes = lanes_[part];
      const auto gather_from = [&](const float* from, Vec* to) {
        for (int l = 0; l < kLanes; ++l) rows[l] = from + (part * kLanes + l) * kRow;
        gather(rows, kRow, to);
      };
      gather_from(p_.w + super * kSuper, lanes.w);
      if (p_.importance)
        gather_from(p_.importance + super % p_.importance_supers * kSuper, lanes.v);
      else
        for (Vec& v : lanes.v) v = splat(1);
      lanes.prepare();
    }
  }

  void search(float* d, uint8_t* s, uint8_t* codes) {
    start();
    SubblockVector steps;
    const SubblockVector unit = level();
    *d = unit.part[0][0] * (1.0f / p_.unit);
    for (int p = 0; p < kParts; ++p) {
      const auto scale_of = [&](Vec step) { return unit.part[p] * (2.0f * step + 1.0f); };
      const auto form_of = [&](Vec step, Words& words) {
        return of_sub(lanes_[p].choose(signed_as(scale_.part[p], scale_of(step)), words));
      };
      Words words, others;
      const Vec middle = step_of(abs_of(scale_.part[p]), unit.part[p]);
      const ErrorQuadratic form = form_of(middle, words);
      const Vec up = select(form.best_scale() > scale_of(middle), splat(1), splat(-1));
      const Vec next = min_of(max_of(middle + up, Vec{}), splat(static_cast<float>(p_.steps)));
      const Ints better = form_of(next, others).error(scale_of(next)) < form.error(scale_of(middle));
      steps.part[p] = select(better, next, middle);
      words.take(better, others);
      write(p, words, scale_.part[p], codes);
    }
    for (int i = 0; i < kSuper / p_.sub; ++i) {
      const int lane = i * p_.sub / kRow;
      const float step = steps.part[lane / kLanes][lane % kLanes], scale = scale_.part[lane / kLanes][lane % kLanes];
      s[i] = static_cast<uint8_t>(static_cast<int>(step) + (__builtin_signbitf(scale) ? p_.steps + 1 : 0));
    }
  }

  void encode(const float* scale, uint8_t* codes) {
    for (int p = 0; p < kParts; ++p) {
      Vec s;
      for (int l = 0; l < kLanes; ++l) s[l] = scale[(p * kLanes + l) * kRow / p_.sub];
      Words words;
      lanes_[p].choose(s, words);
      write(p, words, s, codes);
    }
  }

 private:
  void write(int p, const Words& words, Vec scale, uint8_t* codes) const {
    for (int q = 0; q < kRow / 4; ++q) {
      const Ints four = lanes_[p].codes(words, scale, q);
      for (int l = 0; l < kLanes; ++l) {
        const int32_t bytes = four[l];
        __builtin_memcpy(codes + (p * kLanes + l) * kRow + 4 * q, &bytes, 4);
      }
    }
  }
  // Sums over the whole sub-block in each lane.
  ErrorQuadratic of_sub(ErrorQuadratic f) const {
    if (p_.sub == kRow) return f;
    const auto both = [](Vec x) { return x + exchanged<1>(x, std::make_integer_sequence<int, kLanes>()); };
    return {both(f.wg), both(f.gg)};
  }
  Vec signed_as(Vec sign, Vec x) const {
    return p_.book.beside == SignEncoding::delta_of_block ? select((Ints)sign < 0, -x, x) : x;
  }
  Vec step_of(Vec scale, Vec unit) const {
    const Vec code = (scale * reciprocal(unit) - 1.0f) * 0.5f;
    return min_of(max_of((code + kRound) - kRound, Vec{}), splat(static_cast<float>(p_.steps)));
  }

  // 1.
  void start() {
    // Shares of its largest weight at which a sub-block's largest number is tried.
    constexpr float kShares[] = {1.0f, 0.85f, 0.72f, 0.6f};
    const float top = p_.book.number.back();
    for (int p = 0; p < kParts; ++p) {
      Vec largest = lanes_[p].largest(), gain = splat(-1);
      if (p_.sub != kRow) largest = max_of(largest, exchanged<1>(largest, std::make_integer_sequence<int, kLanes>()));
      scale_.part[p] = largest * (1.0f / top);  // in case no error is finite
      square_.part[p] = splat(1);
      for (const float share : kShares)
        for (const float sign : {1.0f, -1.0f}) {
          if (sign < 0 && p_.book.beside != SignEncoding::delta_of_block) break;
          const ErrorQuadratic form = of_sub(lanes_[p].alone(largest * (sign * share / top)));
          const Vec best = form.best_scale(), here = -form.error(best);
          square_.part[p] = select(here > gain, form.gg, square_.part[p]);
          scale_.part[p] = select(here > gain, best * sign, scale_.part[p]);
          gain = max_of(here, gain);
        }
    }
  }

  // 2. d * unit for the wanted scales.
  SubblockVector level() const {
    const SubblockVector wanted = each([&](int p) { return abs_of(scale_.part[p]); }), most = largest(wanted, kChunk);
    const float last = static_cast<float>(2 * p_.steps + 1);
    SubblockVector best = {}, least = each([](int) { return splat(__builtin_inff()); });
    for (int i = -4; i <= 16; ++i) {
      // A 62nd of the range at a time: half a step of IQ2 and IQ3.
      const float inverse = 1.0f / (p_.unit * last * (1.0f - static_cast<float>(i) / 62));
      const SubblockVector unit = each([&](int p) { return stored(most.part[p] * inverse, Dtype::f16) * p_.unit; });
      const SubblockVector error = sum(each([&](int p) {
                                         const Vec scale =
                                             unit.part[p] * (2.0f * step_of(wanted.part[p], unit.part[p]) + 1.0f);
                                         const Vec off = scale - wanted.part[p];
                                         return square_.part[p] * off * off;
                                       }),
                                       kChunk);
      const SubblockVector better =
          each([&](int p) { return (Vec)((error.part[p] < least.part[p]) | (Ints{} - (i == -4))); });
      least = kerf::choose(better, error, least);
      best = kerf::choose(better, unit, best);
    }
    return best;
  }

  const WordFitProblem& p_;
  Lanes<Shape> lanes_[kParts];
  // Of the weights alone: the scale that they want, with the sign of delta; and sum v g^2, by which an error of it
  // counts.
  SubblockVector scale_, square_;
};

template <class Shape>
void round_in(const Codebook& book, int weights, const float* scale, const float* x, const float* importance, int64_t n,
              uint8_t* codes, float* values) {
  Lanes<Shape> lanes(&book, weights);
  for (int64_t first = 0; first < n; first += kLanes) {
    Vec s, value[kRow];
    __builtin_memcpy(&s, scale + first, sizeof s);
    for (int j = 0; j < weights; ++j) {
      __builtin_memcpy(&lanes.w[j], x + j * n + first, sizeof s);
      lanes.v[j] = splat(importance[j]);
    }
    lanes.prepare();
    Words words;
    lanes.choose(s, words);
    lanes.values(words, s, value);
    for (int j = 0; j < weights; ++j) {
      __builtin_memcpy(values + j * n + first, &value[j], sizeof s);
      store_bytes(lanes.codes(words, s, j / 4) >> j % 4 * 8, codes + j * n + first);
    }
  }
}

template <class Shape>
void search_in(const WordFitProblem& p, float* d, uint8_t* s, uint8_t* codes) {
  Block<Shape> block(p);
  for (int64_t i = 0; i < p.supers; ++i) {
    block.load(i);
    block.search(d + i, s + i * kSuper / p.sub, codes + i * kSuper);
  }
}
template <class Shape>
void encode_in(const WordFitProblem& p, const float* scale, uint8_t* codes) {
  Block<Shape> block(p);
  for (int64_t i = 0; i < p.supers; ++i) {
    block.load(i);
    block.encode(scale + i * kSuper / p.sub, codes + i * kSuper);
  }
}

void search(const WordFitProblem& p, float* d, uint8_t* s, uint8_t* codes) {
  p.book.number.size() == 3 ? search_in<Threes>(p, d, s, codes) : search_in<Eights>(p, d, s, codes);
}
void encode(const WordFitProblem& p, const float* scale, uint8_t* codes) {
  p.book.number.size() == 3 ? encode_in<Threes>(p, scale, codes) : encode_in<Eights>(p, scale, codes);
}
void round_words(const Codebook& book, int weights, const float* scale, const float* x, const float* importance,
                 int64_t n, uint8_t* codes, float* values) {
  const auto round = book.number.size() == 3 ? round_in<Threes> : round_in<Eights>;
  round(book, weights, scale, x, importance, n, codes, values);
}

}  // namespace
}  // namespace kerf
