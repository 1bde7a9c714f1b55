// The K types of GGUF: integers whose scales stand in two levels, a small integer per sub-block of 16 or 32 weights
// times a half-precision number per 256 (two_level_affine, two_level_symmetric). Affine: value = (d s) code - (dmin m);
// symmetric: value = (d s) (code - 2^(bits-1)).
// Source of the formulas: ggml-quants.c and gguf-py/gguf/quants.py of llama.cpp.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/grid.h"
#include "grids/kfitter.h"

namespace kerf {
namespace {

// 1.5 * 2^23: adding and subtracting it rounds to an integer, ties to even.
constexpr float kToInteger = 12582912.0f;

const KFitter& best_fitter() { return fastest(all_kfitters()); }

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
    const Places at = places(q.scheme);
    KFitProblem p = problem(w, q);
    const std::vector<float> even = evened(importance);
    p.importance = even.empty() ? nullptr : even.data();
    const auto supers = static_cast<size_t>(p.supers), subs = supers * static_cast<size_t>(kSuper / p.sub);
    std::vector<float> d(supers), e(supers), s(subs), m(subs);
    best_fitter().search(p, {d.data(), e.data(), s.data(), m.data()});
    for (size_t i = 0; i < supers; ++i)
      if (!std::isfinite(d[i]) || !std::isfinite(e[i]))
        fail(ErrorKind::numerical, "row {}: a scale of these weights is too large for F16; store BF16 or F32",
             static_cast<int64_t>(i) * kSuper / q.cols);
    from_f32(Dtype::f16, d, q.params[at.scale].bytes);
    to_bytes(s, q.params[at.sub].bytes);
    if (!affine(q.scheme)) return;
    from_f32(Dtype::f16, e, q.params[at.min].bytes);
    to_bytes(m, q.params[at.sub_min].bytes);
  }

  void encode(std::span<const float> w, QuantizedMatrix& q) const override {
    const Blocks b = blocks(q);
    best_fitter().encode(problem(w, q), b.scales.data(), b.offsets.data(), q.codes.data());
  }

  void decode(const QuantizedMatrix& q, std::span<float> w) const override {
    const Blocks b = blocks(q);
    const auto sub = static_cast<size_t>(sub_block(q.scheme));
    for (size_t i = 0; i < w.size(); ++i) {
      const Effective e{b.scales[i / sub], b.offsets[i / sub]};
      w[i] = value_of(q.scheme, e, static_cast<float>(q.codes[i]));
    }
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
  void round(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
             float* values) const override {
    affine(s) ? round_all<true>(s, scale, offset, x, n, codes, values)
              : round_all<false>(s, scale, offset, x, n, codes, values);
  }
  Neighbours neighbours(const Scheme& s, Effective e, uint32_t code) const override {
    const uint32_t down = code == 0 ? 0 : code - 1;
    const uint32_t up = std::min(code + 1, static_cast<uint32_t>(top_code(s)));
    return e.scale < 0 ? Neighbours{up, down} : Neighbours{down, up};
  }

 private:
  // nearest() and value(), without branches so that the compiler can use vectors.
  template <bool kAffine>
  static void round_all(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n,
                        uint8_t* codes, float* values) {
    const float top = top_code(s);
    for (int64_t i = 0; i < n; ++i) {
      const float inverse = scale[i] != 0.0f ? 1.0f / scale[i] : 0.0f;
      float code = kAffine ? ((x[i] - offset[i]) * inverse + kToInteger) - kToInteger
                           : (x[i] * inverse + (kToInteger + offset[i])) - kToInteger;
      code = code > 0.0f ? code : 0.0f;
      code = code < top ? code : top;
      values[i] = kAffine ? scale[i] * code + offset[i] : scale[i] * (code - offset[i]);
      codes[i] = static_cast<uint8_t>(static_cast<int32_t>(code));
    }
  }

  // Importance whose largest is about 1, so that products of sums stay in the range of float32; empty where all are 0.
  static std::vector<float> evened(std::span<const float> importance) {
    float most = 0;
    for (const float v : importance) most = std::max(most, v);
    if (!(most > 0)) return {};
    std::vector<float> even(importance.begin(), importance.end());
    for (float& v : even) v = std::ldexp(v, -std::ilogb(most));
    return even;
  }

  // effective() of every sub-block.
  struct Blocks {
    std::vector<float> scales, offsets;
  };
  static Blocks blocks(const QuantizedMatrix& q) {
    const Places at = places(q.scheme);
    const auto floats = [](const ParamArray& p) {
      std::vector<float> x(static_cast<size_t>(p.rows * p.cols));
      to_f32(p.stored, p.bytes, x);
      return x;
    };
    const auto subs = static_cast<size_t>(kSuper / sub_block(q.scheme));
    Blocks b{floats(q.params[at.sub]), {}};
    const std::vector<float> d = floats(q.params[at.scale]);
    for (size_t i = 0; i < b.scales.size(); ++i) b.scales[i] = d[i / subs] * b.scales[i];
    if (!affine(q.scheme)) {
      b.offsets.assign(b.scales.size(), middle(q.scheme));
      return b;
    }
    b.offsets = floats(q.params[at.sub_min]);
    const std::vector<float> dmin = floats(q.params[at.min]);
    for (size_t i = 0; i < b.offsets.size(); ++i) b.offsets[i] = -(dmin[i / subs] * b.offsets[i]);
    return b;
  }

  static KFitProblem problem(std::span<const float> w, const QuantizedMatrix& q) {
    const Level& sub = q.scheme.levels.back();
    return {.w = w.data(),
            .supers = q.rows * q.cols / kSuper,
            .importance = nullptr,
            .importance_supers = q.cols / kSuper,
            .bits = q.scheme.bits,
            .sub = static_cast<int>(sub.block.cols),
            .sub_bits = stored_bits(sub),
            .affine = affine(q.scheme)};
  }

  static void to_bytes(const std::vector<float>& from, std::vector<std::byte>& to) {
    for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<std::byte>(static_cast<int>(from[i]));
  }
};

}  // namespace

const Grid& grid_kquant() {
  static const KQuantGrid grid;
  return grid;
}

}  // namespace kerf
