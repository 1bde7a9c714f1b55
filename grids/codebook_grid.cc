#include "grids/codebook_grid.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/wordfitter.h"

namespace kerf {
namespace {

constexpr int kSuper = 256, kMostSubs = 16, kSteps = 15;  // scales are odd multiples from 1 to 2 kSteps + 1

// 256 weights as the fitter wants them, with their signs; and what was chosen.
class SuperBlock {
 public:
  SuperBlock(const Codebook& book, int sub)
      : book_(book), words_(kSuper / book.weights), per_sub_(sub / book.weights) {}

  void load(const float* w, const float* importance) {
    for (int i = 0; i < kSuper; ++i) {
      const int at = place(i);
      negative_[static_cast<size_t>(i)] = std::signbit(w[i]);
      w_[static_cast<size_t>(at)] = std::abs(w[i]);
      v_[static_cast<size_t>(at)] = importance ? importance[i] : 1.0f;
    }
    if (!book_.even) return;
    for (int i = 0; i < kSuper; i += 8) {
      int count = 0, least = i;
      for (int k = i; k < i + 8; ++k) {
        count += negative_[static_cast<size_t>(k)];
        if (cost_of_turning(k) < cost_of_turning(least)) least = k;
      }
      turned_[static_cast<size_t>(i / 8)] = count % 2 ? least : -1;
      if (count % 2) turn(least);
    }
  }

  // The best entries for a scale in each sub-block; what they make of its error, up to a constant, is error().
  void choose(const float* scale) {
    set_scales(scale);
    const WordFitter& fitter = fastest(all_wordfitters());
    fitter.choose(problem(), entry_.data());
    fitter.rate(problem(), entry_.data(), g_.data(), word_wg_.data(), word_gg_.data());
    if (book_.even) turn_better();
    add_up();
  }
  // The same without regard to which combinations exist.
  void choose_alone(const float* scale) {
    set_scales(scale);
    fastest(all_wordfitters()).rate_alone(problem(), word_wg_.data(), word_gg_.data());
    add_up();
  }

  float best_scale(int b) const {
    const auto at = static_cast<size_t>(b);
    return gg_[at] > 0 ? std::max(wg_[at] / gg_[at], 0.0f) : 0.0f;
  }
  float square(int b) const { return gg_[static_cast<size_t>(b)]; }
  float error(int b, float scale) const {
    const auto at = static_cast<size_t>(b);
    return scale * (scale * gg_[at] - 2 * wg_[at]);
  }
  float largest(int b) const {
    float most = 0;
    for (int word = b * per_sub_; word < (b + 1) * per_sub_; ++word)
      for (int j = 0; j < book_.weights; ++j) most = std::max(most, w_[static_cast<size_t>(j * words_ + word)]);
    return most;
  }

  void codes(uint8_t* out) const {
    for (int i = 0; i < kSuper; ++i)
      out[i] = static_cast<uint8_t>(rank(i / book_.weights, i % book_.weights) +
                                    (negative_[static_cast<size_t>(i)] ? book_.negative : 0));
  }

 private:
  WordProblem problem() const { return {book_, words_, w_.data(), v_.data(), scale_.data()}; }
  void set_scales(const float* scale) {
    for (int i = 0; i < words_; ++i) scale_[static_cast<size_t>(i)] = scale[i / per_sub_];
  }
  void add_up() {
    wg_ = gg_ = {};
    for (int i = 0; i < words_; ++i) {
      wg_[static_cast<size_t>(i / per_sub_)] += word_wg_[static_cast<size_t>(i)];
      gg_[static_cast<size_t>(i / per_sub_)] += word_gg_[static_cast<size_t>(i)];
    }
  }
  int place(int i) const { return i % book_.weights * words_ + i / book_.weights; }
  uint8_t rank(int word, int j) const {
    return book_.rank[static_cast<size_t>(entry_[static_cast<size_t>(word)] * book_.weights + j)];
  }
  // Storing the wrong sign for a weight costs 4 v |w| s g.
  float cost_of_turning(int i) const {
    const auto at = static_cast<size_t>(place(i));
    return v_[at] * std::abs(w_[at]);
  }
  void turn(int i) {
    w_[static_cast<size_t>(place(i))] *= -1;
    negative_[static_cast<size_t>(i)] ^= 1;
  }
  // Where a sign must be wrong: the weight for which it costs least with the magnitudes that were chosen.
  void turn_better() {
    for (int i = 0; i < kSuper; i += 8) {
      int& turned = turned_[static_cast<size_t>(i / 8)];
      if (turned < 0) continue;
      int best = turned;
      const auto cost = [&](int k) { return cost_of_turning(k) * g_[static_cast<size_t>(place(k))]; };
      for (int k = i; k < i + 8; ++k)
        if (cost(k) < cost(best)) best = k;
      if (best == turned) continue;
      for (const int k : {turned, best}) {
        const auto at = static_cast<size_t>(place(k));
        word_wg_[static_cast<size_t>(k / book_.weights)] -= 2 * v_[at] * w_[at] * g_[at];
        turn(k);
      }
      turned = best;
    }
  }

  const Codebook& book_;
  const int words_, per_sub_;
  static constexpr size_t kMostWords = 64;
  alignas(64) std::array<float, kSuper> w_, v_, g_;
  alignas(64) std::array<float, kMostWords> scale_, word_wg_, word_gg_;
  alignas(64) std::array<int32_t, kMostWords> entry_ = {};
  std::array<uint8_t, kSuper> negative_ = {};
  std::array<int, kSuper / 8> turned_ = {};
  std::array<float, kMostSubs> wg_ = {}, gg_ = {};
};

int step_of(float scale, float unit) {
  if (!(unit > 0)) return 0;
  return static_cast<int>(std::clamp(std::nearbyint((scale / unit - 1) / 2), 0.0f, static_cast<float>(kSteps)));
}
float scale_of(float d, float unit, int step) { return d * unit * static_cast<float>(2 * step + 1); }

struct Found {
  float d = 0;
  std::array<int, kMostSubs> step = {};
};

constexpr int kRounds = 1;

// Shares of its largest weight at which a sub-block's largest magnitude is tried.
constexpr float kShares[] = {1.1f, 1.0f, 0.92f, 0.85f, 0.78f, 0.72f, 0.66f, 0.6f, 0.52f};

// A scale for each sub-block as if all combinations existed, then twice the best one for the entries that it gives; d
// by trial among a few numbers that F16 holds; and then each sub-block again with its step and the neighbouring ones.
Found search(SuperBlock& block, int subs, float top, float unit) {
  std::array<float, kMostSubs> scale, best = {}, square = {}, gain = {};
  const auto each = [&](const auto& visit) {
    for (int b = 0; b < subs; ++b) visit(static_cast<size_t>(b), b);
  };
  const auto consider = [&] {
    each([&](size_t i, int b) {
      const float s = block.best_scale(b), g = -block.error(b, s);
      if (!(g > gain[i])) return;
      gain[i] = g;
      best[i] = s;
      square[i] = block.square(b);
    });
  };
  std::array<float, kMostSubs> largest;
  each([&](size_t i, int b) { largest[i] = block.largest(b) / top; });
  for (const float share : kShares) {
    each([&](size_t i, int) { scale[i] = largest[i] * share; });
    block.choose_alone(scale.data());
    consider();
  }
  for (int round = 0; round < kRounds; ++round) {
    gain = {};
    scale = best;
    block.choose(scale.data());
    consider();
  }

  Found found;
  const float most = *std::max_element(best.begin(), best.begin() + subs);
  float least = INFINITY;
  for (int i = -4; i <= 16; ++i) {
    const float d =
        round_to(Dtype::f16, most / (unit * (static_cast<float>(2 * kSteps + 1) - 0.5f * static_cast<float>(i))));
    if (!std::isfinite(d)) return {.d = d};
    float error = 0;
    each([&](size_t k, int) {
      const float off = scale_of(d, unit, step_of(best[k], d * unit)) - best[k];
      error += square[k] * off * off;
    });
    if (error >= least) continue;
    least = error;
    found.d = d;
  }
  std::array<int, kMostSubs> middle = {};
  std::array<float, kMostSubs> lowest;
  lowest.fill(INFINITY);
  each([&](size_t i, int) { middle[i] = step_of(best[i], found.d * unit); });
  for (int change = -1; change <= 1; ++change) {
    std::array<int, kMostSubs> step = {};
    each([&](size_t i, int) {
      step[i] = std::clamp(middle[i] + change, 0, kSteps);
      scale[i] = scale_of(found.d, unit, step[i]);
    });
    block.choose(scale.data());
    each([&](size_t i, int b) {
      const float error = block.error(b, scale[i]);
      if (!(error < lowest[i])) return;
      lowest[i] = error;
      found.step[i] = step[i];
    });
  }
  return found;
}

}  // namespace

void CodebookGrid::check(const Scheme& s) const {
  if (s != scheme_) fail(ErrorKind::unsupported, "'{}' is not the scheme of {}", describe(s), name());
}

void CodebookGrid::fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const {
  const int sub = static_cast<int>(q.scheme.levels[1].block.cols), subs = kSuper / sub;
  const std::vector<float> even = evened(importance);
  SuperBlock block(book_, sub);
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t c = 0; c < q.cols; c += kSuper) {
      block.load(w.data() + r * q.cols + c, even.empty() ? nullptr : even.data() + c);
      const Found found = search(block, subs, book_.magnitude.back(), unit_);
      if (!std::isfinite(found.d))
        fail(ErrorKind::numerical, "row {}: a scale of these weights is too large for F16", r);
      q.params[0].set(r, c / kSuper, found.d);
      for (int b = 0; b < subs; ++b)
        q.params[1].set(r, c / sub + b, static_cast<float>(found.step[static_cast<size_t>(b)]));
    }
}

void CodebookGrid::encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float> importance) const {
  const int sub = static_cast<int>(q.scheme.levels[1].block.cols);
  const std::vector<float> even = evened(importance);
  const Blocks b = blocks(q);
  SuperBlock block(book_, sub);
  for (int64_t i = 0; i < q.rows * q.cols; i += kSuper) {
    block.load(w.data() + i, even.empty() ? nullptr : even.data() + i % q.cols);
    block.choose(b.scales.data() + i / sub);
    block.codes(q.codes.data() + i);
  }
}

BlockGrid::Blocks CodebookGrid::blocks(const QuantizedMatrix& q) const {
  const std::vector<float> d = floats_of(q.params[0]);
  Blocks b{floats_of(q.params[1]), {}};
  const size_t subs = b.scales.size() / d.size();
  for (size_t i = 0; i < b.scales.size(); ++i)
    b.scales[i] = scale_of(d[i / subs], unit_, static_cast<int>(b.scales[i]));
  b.offsets.resize(b.scales.size());
  return b;
}

Effective CodebookGrid::effective(const QuantizedMatrix& q, int64_t row, int64_t col) const {
  const int64_t sub = col / q.scheme.levels[1].block.cols;
  return {scale_of(q.params[0].get(row, col / kSuper), unit_, static_cast<int>(q.params[1].get(row, sub))), 0};
}

Effective CodebookGrid::project(const QuantizedMatrix& q, int64_t row, int64_t col, Effective wanted) const {
  const float d = q.params[0].get(row, col / kSuper);
  return {scale_of(d, unit_, step_of(wanted.scale, d * unit_)), 0};
}

void CodebookGrid::set(QuantizedMatrix& q, int64_t row, int64_t col, Effective e) const {
  const float d = q.params[0].get(row, col / kSuper);
  q.params[1].set(row, col / q.scheme.levels[1].block.cols, static_cast<float>(step_of(e.scale, d * unit_)));
}

void CodebookGrid::round_words(const Scheme&, const float* scale, const float* x, const float* importance, int64_t n,
                               uint8_t* codes, float* values) const {
  constexpr int64_t kLanes = 16;
  const int64_t word = scheme_.codeword, weights = book_.weights;
  alignas(64) std::array<float, 8 * kLanes> w, v;
  alignas(64) std::array<float, kLanes> s;
  alignas(64) std::array<int32_t, kLanes> entry = {};
  for (int64_t first = 0; first < n; first += kLanes) {
    const auto given = [&](int64_t j, int64_t i) { return x[j * n + first + i]; };
    for (int64_t i = 0; i < kLanes; ++i) {
      int negative = 0;
      int64_t cheapest = 0;
      for (int64_t j = 0; j < word; ++j) {
        negative += std::signbit(given(j, i));
        if (importance[j] * std::abs(given(j, i)) < importance[cheapest] * std::abs(given(cheapest, i))) cheapest = j;
        w[static_cast<size_t>(j * kLanes + i)] = std::abs(given(j, i));
        v[static_cast<size_t>(j * kLanes + i)] = importance[j];
      }
      // An odd number of negative weights, where only an even one can be stored.
      if (book_.even && negative % 2) w[static_cast<size_t>(cheapest * kLanes + i)] *= -1;
      s[static_cast<size_t>(i)] = scale[first + i];
    }
    for (int64_t part = 0; part < word; part += weights) {
      const auto at = static_cast<size_t>(part * kLanes);
      fastest(all_wordfitters()).choose({book_, kLanes, w.data() + at, v.data() + at, s.data()}, entry.data());
      for (int64_t i = 0; i < kLanes; ++i)
        for (int64_t j = part; j < part + weights; ++j) {
          const uint8_t rank = book_.rank[static_cast<size_t>(entry[static_cast<size_t>(i)] * weights + j - part)];
          const bool turned = std::signbit(w[static_cast<size_t>(j * kLanes + i)]);
          const bool negative = std::signbit(given(j, i)) != turned;
          codes[j * n + first + i] = static_cast<uint8_t>(rank + (negative ? book_.negative : 0));
          values[j * n + first + i] = scale[first + i] * (negative ? -book_.magnitude[rank] : book_.magnitude[rank]);
        }
    }
  }
}

}  // namespace kerf
