// The search of superblock_search.h, 16 sub-blocks side by side (lanes.h): one or two super-blocks, whose sub-blocks
// are added in a fixed order. Included once by each superblock_search_<isa>.cc.
//
// With codes q the error of a sub-block is a quadratic form in its scale and offset, for which six sums suffice (Sums).
// So
// 1. each sub-block on its own: several starts, each with the best scale and offset for its codes, the best one
// polished;
// 2. d and e by trial among a few numbers that F16 holds, under those forms, every sub-block with its best s and m;
// 3. each sub-block again on its weights: s and its neighbours, each with the best m for the codes it gives;
// 4. d and e that are best for these s and m, if the error on the weights is smaller; and 3 once more.
#pragma once

#include <type_traits>

#include "grids/search/integer_search.h"
#include "grids/search/quadratic_error.h"
#include "grids/search/subblock_vector.h"
#include "grids/search/superblock_search.h"

namespace kerf {
namespace {

constexpr int kLargestSub = 32;
constexpr int64_t kSuper = 256;

// A sub-block's codes by one scale and offset, and the best ones for them.
struct Fits {
  SubblockVector scale, offset;  // that gave the codes
  Sums sums[kParts];
  SubblockVector best_scale, best_offset;
};

// --- The search ---
// Affine sub-blocks: shares of the range that the codes do not span at the start, at the low and at the high end; the
// last four with importance only. Roundings differ, and one of several is luckier: with 8, 12 and 16 starts the error
// of Gaussian weights in Q4_K is 0.976, 0.972 and 0.969 of llama-quantize's.
constexpr float kStart[][2] = {{0, 0},          {0.04f, 0.04f},  {-0.03f, -0.03f}, {0.08f, 0.0f},
                               {0.0f, 0.08f},   {0.10f, 0.10f},  {-0.06f, 0.02f},  {0.02f, -0.06f},
                               {0.14f, 0.14f},  {0.03f, 0.10f},  {0.10f, 0.03f},   {-0.10f, -0.10f},
                               {0.06f, -0.02f}, {-0.02f, 0.06f}, {0.02f, 0.02f},   {0.06f, 0.06f}};
constexpr int kPlainStarts = 12, kStarts = sizeof kStart / sizeof kStart[0];
// Symmetric sub-blocks: the largest weight lands this many codes past the end of the longer side, or past the other
// end; the first kFewPast with codes of at most 4 bits, whose roundings differ less.
constexpr float kPast[] = {0.0f, -0.5f, 0.3f, -0.25f, -0.75f, 0.6f, -0.9f, -1.3f, -1.7f, -2.1f, -2.5f};
// Without importance, codes of 2 and 3 bits count the error of a weight by its magnitude and that of its sub-block, as
// llama-quantize does: on tinytales that takes mean KL from 0.84 to 0.79 (Q2_K) and from 0.122 to 0.114 (Q3_K), at 1 to
// 3 % more squared error. With more bits it gains nothing beyond noise, and every weight counts alike.
constexpr int kFewBits = 3;
constexpr float kHuge = 1e6f;  // more than F16 holds: such scales are refused, and sums have to stay finite until then
constexpr int kRounds = 2;     // of 4 and 3
constexpr int kFewPast = 6, kAllPast = sizeof kPast / sizeof kPast[0];

template <bool kGiven, bool kAffine, class Numbers>
class Search {
 public:
  Search(const KFitProblem& p, const Numbers& numbers, const Vec* w, const Vec* v)
      : p_(p), numbers_(numbers), w_(w), v_(v), subs_(static_cast<int>(kSuper) / p.sub) {
    const float codes = static_cast<float>(1 << p.bits);
    first_ = p.affine ? 0 : p.level_table ? p.level_table->ascending.front() : -codes / 2;
    last_ = p.affine ? codes - 1 : p.level_table ? p.level_table->ascending.back() : codes / 2 - 1;
    const float n = static_cast<float>(1 << p.sub_bits);
    low_ = p.affine ? 0 : -n / 2;
    high_ = p.affine ? n - 1 : n / 2 - 1;
  }

  void run() {
    for (int part = 0; part < kParts; ++part) start(part);
    levels();
    neighbours();
    // Symmetric blocks gain less than 0.1 % from more.
    for (int round = 0; kAffine && round < kRounds; ++round) {
      refit_levels();
      neighbours();
    }
  }

  SubblockVector d, e, s, m;

 private:
  Sums at(int part, Vec scale, Vec offset) const {
    return sums_at<true, kAffine>(w_ + part * p_.sub, v_ + part * p_.sub, p_.sub, numbers_, scale, offset);
  }

  // 1. Every sub-block on its own.
  void consider(int part, Vec scale, Vec offset, Vec* best_error) {
    const Sums sums = at(part, scale, offset);
    const Move move = best_move<kAffine>(sums, scale, offset);
    const Vec error = error_after<kAffine>(sums, move);
    const Ints better = error < *best_error;
    *best_error = select(better, error, *best_error);
    const auto keep = [&](Vec& to, Vec from) { to = select(better, from, to); };
    Sums& kept = fits_.sums[part];
    keep(fits_.scale.part[part], scale);
    keep(fits_.offset.part[part], offset);
    keep(kept.qq, sums.qq);
    keep(kept.rq, sums.rq);
    keep(kept.rr, sums.rr);
    keep(fits_.best_scale.part[part], scale + move.a);
    if (!kAffine) return;
    keep(kept.n, sums.n);
    keep(kept.q, sums.q);
    keep(kept.r, sums.r);
    keep(fits_.best_offset.part[part], offset + move.b);
  }

  void start(int part) {
    const Vec* w = w_ + part * p_.sub;
    Vec lowest{}, highest{};
    for (int j = 0; j < p_.sub; ++j) {
      lowest = min_of(lowest, w[j]);
      highest = max_of(highest, w[j]);
    }
    Vec error = splat(__builtin_inff());
    fits_.sums[part] = Sums{};
    if constexpr (!kAffine && !kGiven && std::is_same_v<Numbers, Even>) {
      p_.bits <= 4 ? start_integers<kFewPast>(part) : start_integers<kAllPast>(part);
      return consider(part, fits_.best_scale.part[part], Vec{}, &error);
    }
    if (kAffine) {
      const Vec range = highest - lowest;
      fits_.best_scale.part[part] = range * (1.0f / last_);  // in case no error is finite
      for (int i = 0; i < (kGiven ? kStarts : kPlainStarts); ++i) {
        const float low = kStart[i][0], high = kStart[i][1];
        consider(part, range * ((1.0f - low - high) / last_), min_of(lowest + range * low, Vec{}), &error);
      }
    } else {
      const Vec most = select(highest > -lowest, highest, lowest);
      const float step = std::is_same_v<Numbers, Even> ? 1.0f : (last_ - first_) / static_cast<float>(1 << p_.bits);
      fits_.best_scale.part[part] = most * (1.0f / first_);
      for (const float past : kPast) {
        consider(part, most * (1.0f / (first_ - past * step)), Vec{}, &error);
        consider(part, most * (1.0f / (last_ + past * step)), Vec{}, &error);
      }
    }
    consider(part, fits_.best_scale.part[part], fits_.best_offset.part[part], &error);
  }

  template <int kCount>
  void start_integers(int part) {
    Pairs x[kLargestSub / 2];
    float code[2 * kCount];
    for (int c = 0; c < kCount; ++c) {
      code[2 * c] = first_ - kPast[c];
      code[2 * c + 1] = last_ + kPast[c];
    }
    const Best best = search_integers<2 * kCount, true>({w_ + part * p_.sub, nullptr, p_.sub}, p_.bits, code, x);
    fits_.best_scale.part[part] = best.scale;
  }

  // 2. d and e under the forms.
  void levels() {
    best_level(farthest(fits_.best_scale, subs_), kAffine ? high_ : low_, fits_.best_scale, &d, &s,
               [&](int p, Vec scale) {
                 const Vec a = scale - fits_.scale.part[p];
                 return error_after<kAffine>(fits_.sums[p], {a, offset_for(p, a)});
               });
    if (!kAffine) return;
    const SubblockVector a = each([&](int p) { return d.part[p] * s.part[p] - fits_.scale.part[p]; });
    const SubblockVector wanted = each([&](int p) { return -(fits_.offset.part[p] + offset_for(p, a.part[p])); });
    best_level(largest(wanted, subs_), high_, wanted, &e, &m, [&](int p, Vec minimum) {
      return error_after<kAffine>(fits_.sums[p], {a.part[p], -minimum - fits_.offset.part[p]});
    });
  }

  // The best of several units, in quarters of a code around the one with which the farthest number becomes the last
  // code, and the multiples nearest to what is wanted.
  template <class Error>
  void best_level(const SubblockVector& far, float last, const SubblockVector& wanted, SubblockVector* unit,
                  SubblockVector* ints, const Error& error_of) const {
    SubblockVector least;
    for (int i = -4; i <= 12; ++i) {
      const float code = last + (last > 0 ? -0.25f : 0.25f) * static_cast<float>(i);
      const SubblockVector trial = each([&](int p) { return stored(far.part[p] * (1.0f / code), Dtype::f16); });
      const SubblockVector count = each([&](int p) { return multiple(wanted.part[p], trial.part[p]); });
      const SubblockVector error = sum(each([&](int p) { return error_of(p, trial.part[p] * count.part[p]); }), subs_);
      const bool first = i == -4;
      const SubblockVector better =
          each([&](int p) { return first ? (Vec)(Ints{} - 1) : (Vec)(error.part[p] < least.part[p]); });
      least = choose(better, error, least);
      *unit = choose(better, trial, *unit);
      *ints = choose(better, count, *ints);
    }
  }

  Vec multiple(Vec wanted, Vec unit) const { return rounded(wanted * reciprocal(unit), splat(low_), splat(high_)); }
  Vec offset_for(int p, Vec a) const { return kAffine ? best_offset(fits_.sums[p], a, fits_.offset.part[p]) : Vec{}; }
  Vec stored_offset(int p, Vec ints) const { return kAffine ? -(e.part[p] * ints) : Vec{}; }

  // 3. s and its neighbours on the weights; the forms become those of the best one's codes.
  void neighbours() {
    for (int p = 0; p < kParts; ++p) {
      const Vec middle = s.part[p];
      const Sums before = kAffine ? at(p, d.part[p] * middle, stored_offset(p, m.part[p])) : Sums{};
      Vec least = kAffine ? before.rr : splat(__builtin_inff());
      const Vec scale0 = d.part[p] * middle, offset0 = stored_offset(p, m.part[p]);
      for (int step = -1; step <= 1; ++step) {
        const Vec ints = rounded(middle + static_cast<float>(step), splat(low_), splat(high_));
        const Vec scale = d.part[p] * ints;
        Vec offset{}, minimum{};
        if (kAffine) {
          minimum = multiple(-(offset0 + best_offset(before, scale - scale0, offset0)), e.part[p]);
          offset = stored_offset(p, minimum);
        }
        const Sums sums = at(p, scale, offset);
        Vec error = sums.rr;
        if (kAffine) {
          const Vec again = multiple(-(offset + best_offset(sums, Vec{}, offset)), e.part[p]);
          const Vec predicted = error_after<true>(sums, {Vec{}, stored_offset(p, again) - offset});
          minimum = select(predicted < error, again, minimum);
          error = min_of(predicted, error);
        }
        const Ints better = error < least;
        least = select(better, error, least);
        s.part[p] = select(better, ints, s.part[p]);
        if (kAffine) m.part[p] = select(better, minimum, m.part[p]);
      }
    }
  }

  // 4. The best d and e for these s and m.
  void refit_levels() {
    SubblockVector old, ss, sm, mm, sr, mr;
    for (int p = 0; p < kParts; ++p) {
      const Vec x = s.part[p], y = -m.part[p];
      const Sums f = at(p, d.part[p] * x, stored_offset(p, m.part[p]));
      old.part[p] = f.rr;
      ss.part[p] = x * x * f.qq;
      sm.part[p] = x * y * f.q;
      mm.part[p] = y * y * f.n;
      sr.part[p] = x * f.rq;
      mr.part[p] = y * f.r;
    }
    for (SubblockVector* row : {&old, &ss, &sm, &mm, &sr, &mr}) *row = sum(*row, subs_);
    const SubblockVector det = each([&](int p) { return ss.part[p] * mm.part[p] - sm.part[p] * sm.part[p]; });
    const auto moved = [&](const SubblockVector& from, const SubblockVector& a, const SubblockVector& b,
                           const SubblockVector& square) {
      return each([&](int p) {
        const Vec inverse = reciprocal(det.part[p]);
        const Ints sound = det.part[p] > kSound * (ss.part[p] * mm.part[p]);
        const Vec move = (a.part[p] * square.part[p] - b.part[p] * sm.part[p]) * inverse;
        return stored(max_of(from.part[p] + select(sound, move, Vec{}), Vec{}), Dtype::f16);
      });
    };
    const SubblockVector new_d = moved(d, sr, mr, mm), new_e = moved(e, mr, sr, ss);
    const SubblockVector error =
        sum(each([&](int p) { return at(p, new_d.part[p] * s.part[p], -(new_e.part[p] * m.part[p])).rr; }), subs_);
    const SubblockVector better = each([&](int p) { return (Vec)(error.part[p] < old.part[p]); });
    d = choose(better, new_d, d);
    e = choose(better, new_e, e);
  }

  const KFitProblem& p_;
  const Numbers numbers_;
  const Vec *w_, *v_;
  const int subs_;
  float low_, high_;    // of s and m
  float first_, last_;  // numbers that a code stands for
  Fits fits_ = {};
};

inline void weigh(const Vec* w, int sub, int bits, Vec* v) {
  Vec squares{};
  for (int j = 0; j < sub; ++j) squares += w[j] * w[j];
  const Vec rms = root(squares * (1.0f / static_cast<float>(sub)));
  for (int j = 0; j < sub; ++j) v[j] = bits <= kFewBits ? min_of(abs_of(w[j]) + rms, splat(kHuge)) : splat(1.0f);
}

template <bool kGiven, bool kAffine, class Numbers>
void search_all(const KFitProblem& p, const Numbers& numbers, const SuperblockParams& out) {
  Vec w[kParts * kLargestSub + 1], v[kParts * kLargestSub + 1];  // one more for gather()
  const int64_t subs = kSuper / p.sub, all = p.supers * subs;
  const float* rows[kLanes];
  for (int64_t first = 0; first < all; first += kChunk) {
    for (int part = 0; part < kParts; ++part) {
      for (int l = 0; l < kLanes; ++l) {
        const int64_t block = first + part * kLanes + l;
        rows[l] = p.w + (block < all ? block : first) * p.sub;  // the first once more where there is no other
      }
      gather(rows, p.sub, w + part * p.sub);
      if (!kGiven) {
        weigh(w + part * p.sub, p.sub, p.bits, v + part * p.sub);
        continue;
      }
      for (int l = 0; l < kLanes; ++l) {
        const int64_t block = first + part * kLanes + l;
        rows[l] = p.importance + (block < all ? block : first) % (p.importance_supers * subs) * p.sub;
      }
      gather(rows, p.sub, v + part * p.sub);
    }
    Search<kGiven, kAffine, Numbers> search(p, numbers, w, v);
    search.run();
    const auto put = [&](const SubblockVector& from, float* to, int64_t each_super) {
      float a[kChunk];
      __builtin_memcpy(a, &from, sizeof a);
      for (int64_t i = 0; i < kChunk && first + i < all; i += subs / each_super)
        to[(first + i) * each_super / subs] = a[i];
    };
    put(search.d, out.d, 1);
    put(search.s, out.s, subs);
    if (!kAffine) continue;
    put(search.e, out.e, 1);
    put(search.m, out.m, subs);
  }
}

Even even(const KFitProblem& p) {
  const float n = static_cast<float>(1 << p.bits);
  return {splat(p.affine ? 0.0f : -n / 2), splat(p.affine ? n - 1 : n / 2 - 1)};
}

void search(const KFitProblem& p, const SuperblockParams& out) {
  if (p.level_table)
    p.importance ? search_all<true, false>(p, FromTable{*p.level_table}, out)
                 : search_all<false, false>(p, FromTable{*p.level_table}, out);
  else if (p.affine)
    p.importance ? search_all<true, true>(p, even(p), out) : search_all<false, true>(p, even(p), out);
  else
    p.importance ? search_all<true, false>(p, even(p), out) : search_all<false, false>(p, even(p), out);
}

}  // namespace
}  // namespace kerf
