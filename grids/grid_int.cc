// Uniform integers with a scale, and for asymmetric schemes an integer zero point, per group or row. Covers GGUF Q4_0
// and Q8_0 and the integer schemes of GPTQ, AWQ and compressed-tensors; they differ only in layout.
#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/block_grid.h"
#include "grids/search/int_search.h"

namespace kerf {
namespace {

bool symmetric(const Scheme& s) { return s.levels.size() == 1; }
float top_code(const Scheme& s) { return static_cast<float>((1 << s.bits) - 1); }
// 1.5 * 2^23: adding and subtracting it rounds to an integer, ties to even.
constexpr float kToInteger = 12582912.0f;
float symmetric_zero(const Scheme& s) { return static_cast<float>(1 << (s.bits - 1)); }

const IntSearch& fastest_search() {
  static const IntSearch& search = fastest(all_int_searches());
  return search;
}

struct FreeAligned {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float[], FreeAligned>;
AlignedFloats aligned_floats(int64_t n) {
  return AlignedFloats(
      static_cast<float*>(::operator new[](static_cast<size_t>(n) * sizeof(float), std::align_val_t{64})));
}

// Scales (and zero points) as floats, one per block, in the order of the weights.
struct BlockParams {
  std::vector<float> scales, zeros;
};

BlockParams read_params(const QuantizedMatrix& q) {
  const ParamArray& scale = q.params[0];
  const size_t n = static_cast<size_t>(scale.rows * scale.cols);
  BlockParams p{std::vector<float>(n), std::vector<float>(n, symmetric_zero(q.scheme))};
  to_f32(scale.stored, scale.bytes, p.scales);
  if (!symmetric(q.scheme)) to_f32(Dtype::u8, q.params[1].bytes, p.zeros);
  return p;
}

// The same numbers the other way round, scale * (code - zero) = -scale * ((top - code) - (top - zero)), where a zero
// point is below what may be stored.
void raise_zero(const Scheme& s, float* scale, float* zero) {
  if (*zero >= static_cast<float>(s.levels[1].lowest)) return;
  *scale = -*scale;
  *zero = top_code(s) - *zero;
}

class IntGrid final : public Grid {
 public:
  std::string_view name() const override { return "int"; }

  void check(const Scheme& s) const override {
    const auto refuse = [&](const char* rule) {
      fail(ErrorKind::unsupported, "'{}' is not an integer scheme: {}", describe(s), rule);
    };
    if (s.grid != "int" || s.codeword != 1) refuse("every weight by itself on the grid 'int'");
    if (s.bits < 2 || s.bits > 8) refuse("2 to 8 bits");
    if (s.levels.empty() || s.levels.size() > 2) refuse("one level of scales, and one of zero points when asymmetric");
    const Level& scale = s.levels[0];
    if (scale.offset || scale.block.rows != 1 || scale.block.cols < 0) refuse("each scale covers a part of one row");
    if (scale.stored != Dtype::f16 && scale.stored != Dtype::bf16 && scale.stored != Dtype::f32)
      refuse("scales are stored as F16, BF16 or F32");
    if (s.levels.size() == 2) {
      const Level& zero = s.levels[1];
      if (!zero.offset || zero.stored != Dtype::u8 || zero.block != scale.block)
        refuse("zero points are integers that cover what the scales cover");
      if (2 * zero.lowest > top_code(s)) refuse("at least the upper half of the codes can be zero points");
    }
  }

  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override {
    const ParamArray& shape = q.params[0];
    const size_t n = static_cast<size_t>(shape.rows * shape.cols);
    BlockParams found{std::vector<float>(n), std::vector<float>(n)};
    const int64_t size = q.cols / shape.cols;
    const AlignedFloats scratch = aligned_floats(2 * 16 * (size + 1));
    IntFitProblem p = problem(w, q);
    const std::vector<float> even = evened_by_block(importance, size);
    p.importance = even.empty() ? nullptr : even.data();
    p.scratch = scratch.get();
    fastest_search().search(p, found.scales.data(), found.zeros.data());
    for (size_t i = 0; i < n; ++i)
      if (!std::isfinite(found.scales[i])) refuse_large(static_cast<int64_t>(i) / shape.cols, shape.stored);
    if (!symmetric(q.scheme))
      for (size_t i = 0; i < n; ++i) raise_zero(q.scheme, &found.scales[i], &found.zeros[i]);
    from_f32(q.params[0].stored, found.scales, q.params[0].bytes);
    if (symmetric(q.scheme)) return;
    for (size_t i = 0; i < n; ++i) q.params[1].bytes[i] = static_cast<std::byte>(static_cast<int>(found.zeros[i]));
  }

  void encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float>) const override {
    const BlockParams p = read_params(q);
    fastest_search().encode(problem(w, q), p.scales.data(), p.zeros.data(), q.codes.data());
  }

  void decode(const QuantizedMatrix& q, std::span<float> w) const override {
    const BlockParams p = read_params(q);
    const size_t size = static_cast<size_t>(q.cols / q.params[0].cols);
    for (size_t block = 0; block < p.scales.size(); ++block) {
      const float scale = p.scales[block], zero = p.zeros[block];
      for (size_t j = block * size; j < (block + 1) * size; ++j) w[j] = scale * (static_cast<float>(q.codes[j]) - zero);
    }
  }

  ScaleOffset effective(const QuantizedMatrix& q, int64_t row, int64_t col) const override {
    const int64_t block = col / (q.cols / q.params[0].cols);
    return {q.params[0].get(row, block), symmetric(q.scheme) ? symmetric_zero(q.scheme) : q.params[1].get(row, block)};
  }

  ScaleOffset project(const QuantizedMatrix& q, int64_t, int64_t, ScaleOffset wanted) const override {
    const Scheme& s = q.scheme;
    float scale = round_to(s.levels[0].stored, wanted.scale);
    if (symmetric(s)) return {scale, symmetric_zero(s)};
    float zero = std::clamp(std::nearbyint(wanted.offset), 0.0f, top_code(s));
    raise_zero(s, &scale, &zero);
    return {scale, zero};
  }

  uint32_t nearest(const Scheme& s, ScaleOffset e, float x) const override {
    // As in the search, so that ties of x / scale fall alike.
    const float inverse = e.scale != 0.0f ? 1.0f / e.scale : 0.0f;
    const float code = (x * inverse + (kToInteger + e.offset)) - kToInteger;
    return static_cast<uint32_t>(std::clamp(code, 0.0f, top_code(s)));
  }

  float value(const Scheme&, ScaleOffset e, uint32_t code) const override {
    return e.scale * (static_cast<float>(code) - e.offset);
  }

  Neighbours neighbours(const Scheme& s, ScaleOffset e, uint32_t code) const override {
    const uint32_t down = code == 0 ? 0 : code - 1;
    const uint32_t up = std::min(code + 1, static_cast<uint32_t>(top_code(s)));
    return e.scale < 0 ? Neighbours{up, down} : Neighbours{down, up};
  }

  void round(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
             float* values) const override {
    fastest_search().round(top_code(s), false, scale, offset, x, n, codes, values);  // nearest() and value()
  }

  void set(QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset e) const override {
    const int64_t block = col / (q.cols / q.params[0].cols);
    q.params[0].set(row, block, e.scale);
    if (!symmetric(q.scheme)) q.params[1].set(row, block, e.offset);
  }

 private:
  static IntFitProblem problem(std::span<const float> w, const QuantizedMatrix& q) {
    const ParamArray& scale = q.params[0];
    return {.w = w.data(),
            .blocks = scale.rows * scale.cols,
            .size = q.cols / scale.cols,
            .importance = nullptr,
            .importance_blocks = scale.cols,
            .bits = q.scheme.bits,
            .symmetric = symmetric(q.scheme),
            .stored = scale.stored,
            .scratch = nullptr};
  }
};

}  // namespace

const Grid& grid_int() {
  static const IntGrid grid;
  return grid;
}

}  // namespace kerf
