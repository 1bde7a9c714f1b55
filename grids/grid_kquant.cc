// The K types of GGUF: integers whose scales stand in two levels, a small integer per sub-block of 16 or 32 weights
// times a half-precision number per 256 (two_level_affine, two_level_symmetric). Affine: value = (d s) code - (dmin m);
// symmetric: value = (d s) (code - 2^(bits-1)).
// Source of the formulas: ggml-quants.c and gguf-py/gguf/quants.py of llama.cpp.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "grids/grid.h"

namespace kerf {
namespace {

// 1.5 * 2^23: adding and subtracting it rounds to an integer, ties to even.
constexpr float kToInteger = 12582912.0f;

bool affine(const Scheme& s) { return adds_offset(s); }
float top_code(const Scheme& s) { return static_cast<float>((1 << s.bits) - 1); }
float middle(const Scheme& s) { return static_cast<float>(1 << (s.bits - 1)); }

// Where the parameters of a scheme stand among its levels.
struct Places {
  size_t scale, sub, min, sub_min;
};
Places places(const Scheme& s) { return affine(s) ? Places{0, 2, 1, 3} : Places{0, 1, 0, 1}; }

// The sub-scales that can be stored.
struct Limits {
  float low, high;
};
Limits limits(const Level& sub) {
  const float n = static_cast<float>(1 << stored_bits(sub));
  return sub.stored == Dtype::i8 ? Limits{-n / 2, n / 2 - 1} : Limits{0, n - 1};
}
float multiple(float wanted, float unit, const Level& sub) {
  if (unit == 0.0f) return 0;
  const Limits l = limits(sub);
  return std::clamp(std::nearbyint(wanted / unit), l.low, l.high);
}

int64_t sub_block(const Scheme& s) { return s.levels.back().block.cols; }
constexpr int64_t kSuper = 256;

float code_of(const Scheme& s, Effective e, float x) {
  const float inverse = e.scale != 0.0f ? 1.0f / e.scale : 0.0f;
  const float code = affine(s) ? ((x - e.offset) * inverse + kToInteger) - kToInteger
                               : (x * inverse + (kToInteger + e.offset)) - kToInteger;
  return std::clamp(code, 0.0f, top_code(s));
}

float value_of(const Scheme& s, Effective e, float code) {
  return affine(s) ? e.scale * code + e.offset : e.scale * (code - e.offset);
}

class KQuantGrid final : public Grid {
 public:
  std::string_view name() const override { return "kquant"; }

  void check(const Scheme& s) const override {
    for (const int64_t sub : {16, 32})
      for (const int sub_bits : {4, 6, 8})
        if (s == two_level_affine(s.bits, sub, sub_bits) || s == two_level_symmetric(s.bits, sub, sub_bits))
          if (s.bits >= 2 && s.bits <= 6) return;
    fail(ErrorKind::unsupported,
         "'{}' is no scheme of the grid 'kquant': codes of 2 to 6 bits, scales of 4, 6 or 8 bits for 16 or 32 weights, "
         "and "
         "F16 scales for 256",
         describe(s));
  }

  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override {
    const Scheme& s = q.scheme;
    const int64_t sub = sub_block(s), subs = kSuper / sub;
    const Places at = places(s);
    std::vector<Effective> found(static_cast<size_t>(subs));
    for (int64_t r = 0; r < q.rows; ++r)
      for (int64_t c = 0; c < q.cols; c += kSuper) {
        float scale = 0, lowest = 0;
        for (int64_t b = 0; b < subs; ++b) {
          const auto part = w.subspan(static_cast<size_t>(r * q.cols + c + b * sub), static_cast<size_t>(sub));
          const auto v = importance.empty()
                             ? importance
                             : importance.subspan(static_cast<size_t>(c + b * sub), static_cast<size_t>(sub));
          Effective& e = found[static_cast<size_t>(b)] = search(s, part, v);
          if (std::abs(e.scale) > std::abs(scale)) scale = e.scale;
          lowest = std::min(lowest, e.offset);
        }
        const Level& level = s.levels[at.sub];
        // A negative scale takes the longer side of signed multiples.
        const float longest = level.stored == Dtype::i8 ? limits(level).low : limits(level).high;
        ParamArray& d = q.params[at.scale];
        d.set(r, c / kSuper, scale / longest);
        if (affine(s)) q.params[at.min].set(r, c / kSuper, -lowest / limits(level).high);
        if (!std::isfinite(d.get(r, c / kSuper)) || !std::isfinite(q.params[at.min].get(r, c / kSuper)))
          fail(ErrorKind::numerical, "row {}: a scale of these weights is too large for F16; store BF16 or F32", r);
        for (int64_t b = 0; b < subs; ++b) {
          const int64_t col = c + b * sub;
          set(q, r, col, project(q, r, col, found[static_cast<size_t>(b)]));
        }
      }
  }

  void encode(std::span<const float> w, QuantizedMatrix& q) const override {
    for_each_sub(q, [&](int64_t first, int64_t n, Effective e) {
      for (int64_t i = first; i < first + n; ++i)
        q.codes[static_cast<size_t>(i)] = static_cast<uint8_t>(code_of(q.scheme, e, w[static_cast<size_t>(i)]));
    });
  }

  void decode(const QuantizedMatrix& q, std::span<float> w) const override {
    for_each_sub(q, [&](int64_t first, int64_t n, Effective e) {
      for (int64_t i = first; i < first + n; ++i)
        w[static_cast<size_t>(i)] = value_of(q.scheme, e, static_cast<float>(q.codes[static_cast<size_t>(i)]));
    });
  }

  Effective effective(const QuantizedMatrix& q, int64_t row, int64_t col) const override {
    const Places at = places(q.scheme);
    const int64_t super = col / kSuper, sub = col / sub_block(q.scheme);
    const float scale = q.params[at.scale].get(row, super) * q.params[at.sub].get(row, sub);
    if (!affine(q.scheme)) return {scale, middle(q.scheme)};
    return {scale, -(q.params[at.min].get(row, super) * q.params[at.sub_min].get(row, sub))};
  }

  Effective project(const QuantizedMatrix& q, int64_t row, int64_t col, Effective wanted) const override {
    const Places at = places(q.scheme);
    const Level& level = q.scheme.levels[at.sub];
    const float d = q.params[at.scale].get(row, col / kSuper);
    const float scale = d * multiple(wanted.scale, d, level);
    if (!affine(q.scheme)) return {scale, middle(q.scheme)};
    const float dmin = q.params[at.min].get(row, col / kSuper);
    return {scale, -(dmin * multiple(-wanted.offset, dmin, level))};
  }

  void set(QuantizedMatrix& q, int64_t row, int64_t col, Effective e) const override {
    const Places at = places(q.scheme);
    const Level& level = q.scheme.levels[at.sub];
    const int64_t super = col / kSuper, sub = col / sub_block(q.scheme);
    q.params[at.sub].set(row, sub, multiple(e.scale, q.params[at.scale].get(row, super), level));
    if (affine(q.scheme))
      q.params[at.sub_min].set(row, sub, multiple(-e.offset, q.params[at.min].get(row, super), level));
  }

  uint32_t nearest(const Scheme& s, Effective e, float x) const override {
    return static_cast<uint32_t>(code_of(s, e, x));
  }
  float value(const Scheme& s, Effective e, uint32_t code) const override {
    return value_of(s, e, static_cast<float>(code));
  }
  Neighbours neighbours(const Scheme& s, Effective e, uint32_t code) const override {
    const uint32_t down = code == 0 ? 0 : code - 1;
    const uint32_t up = std::min(code + 1, static_cast<uint32_t>(top_code(s)));
    return e.scale < 0 ? Neighbours{up, down} : Neighbours{down, up};
  }

 private:
  // visit(first weight, weights, parameters) for every sub-block.
  template <class Visit>
  void for_each_sub(const QuantizedMatrix& q, const Visit& visit) const {
    const int64_t sub = sub_block(q.scheme);
    for (int64_t r = 0; r < q.rows; ++r)
      for (int64_t c = 0; c < q.cols; c += sub) visit(r * q.cols + c, sub, effective(q, r, c));
  }

  // The best scale and offset of one sub-block on its own: roundings of several ranges, each with the scale and offset
  // that are best for its codes.
  static Effective search(const Scheme& s, std::span<const float> w, std::span<const float> importance) {
    const float top = top_code(s);
    float low = 0, high = 0;
    for (const float x : w) {
      low = std::min(low, x);
      high = std::max(high, x);
    }
    const float largest = high > -low ? high : low;
    Effective best{0, affine(s) ? 0.0f : middle(s)};
    double least = INFINITY;
    for (int step = -8; step <= 8; ++step) {
      const float codes = affine(s) ? top : -middle(s);
      const float range = affine(s) ? high - low : largest;
      Effective e{range / (codes * (1.0f + 0.02f * static_cast<float>(step))), affine(s) ? low : middle(s)};
      for (int round = 0; round < 2; ++round) e = refit(s, w, importance, e);
      const double error = squared(s, w, importance, e);
      if (error >= least) continue;
      least = error;
      best = e;
    }
    return best;
  }

  static double weight(std::span<const float> importance, size_t i) {
    return importance.empty() ? 1.0 : static_cast<double>(importance[i]);
  }

  // The scale and offset that are best for the codes of e.
  static Effective refit(const Scheme& s, std::span<const float> w, std::span<const float> importance, Effective e) {
    double v = 0, vq = 0, vqq = 0, vw = 0, vwq = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double k = weight(importance, i), x = static_cast<double>(w[i]);
      const double c = static_cast<double>(code_of(s, e, w[i]) - (affine(s) ? 0.0f : e.offset));
      v += k;
      vq += k * c;
      vqq += k * c * c;
      vw += k * x;
      vwq += k * x * c;
    }
    if (!affine(s)) return vqq > 0 ? Effective{static_cast<float>(vwq / vqq), e.offset} : e;
    const double det = v * vqq - vq * vq;
    double scale = det > 0 ? (v * vwq - vw * vq) / det : 0, offset = det > 0 ? (vqq * vw - vq * vwq) / det : vw / v;
    if (!(offset <= 0)) {
      offset = 0;
      scale = vqq > 0 ? vwq / vqq : 0;
    }
    return {std::max(static_cast<float>(scale), 0.0f), static_cast<float>(offset)};
  }

  static double squared(const Scheme& s, std::span<const float> w, std::span<const float> importance, Effective e) {
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i] - value_of(s, e, code_of(s, e, w[i])));
      sum += weight(importance, i) * d * d;
    }
    return sum;
  }
};

}  // namespace

const Grid& grid_kquant() {
  static const KQuantGrid grid;
  return grid;
}

}  // namespace kerf
