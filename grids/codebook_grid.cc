#include "grids/codebook_grid.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/fastest.h"
#include "grids/search/codebook_search.h"

namespace kerf {
namespace {

constexpr int64_t kSuper = 256;

WordFitProblem problem(const Codebook& book, std::span<const float> w, const std::vector<float>& importance,
                       const QuantizedMatrix& q, int steps, float unit) {
  return {.book = book,
          .w = w.data(),
          .supers = q.rows * q.cols / kSuper,
          .importance = importance.empty() ? nullptr : importance.data(),
          .importance_supers = static_cast<int64_t>(importance.size()) / kSuper,
          .sub = static_cast<int>(q.scheme.levels[1].block.cols),
          .steps = steps,
          .unit = unit};
}

}  // namespace

CodebookGrid::CodebookGrid(std::string_view name, Scheme scheme, float unit)
    : BlockGrid(name, LevelTable(codebook(name).numbers())),
      scheme_(std::move(scheme)),
      book_(codebook(name)),
      unit_(unit) {
  const int bits = stored_bits(scheme_.levels[1]) - (book_.beside == SignEncoding::delta_of_block);
  steps_ = (1 << bits) - 1;
}

void CodebookGrid::check(const Scheme& s) const {
  if (s != scheme_) fail(ErrorKind::unsupported, "'{}' is not the scheme of {}", describe(s), name());
}

void CodebookGrid::fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const {
  fit_and_encode(w, importance, q);
}

void CodebookGrid::fit_and_encode(std::span<const float> w, std::span<const float> importance,
                                  QuantizedMatrix& q) const {
  const std::vector<float> even = evened(importance);
  const WordFitProblem p = problem(book_, w, even, q, steps_, unit_);
  std::vector<float> d(static_cast<size_t>(p.supers));
  std::vector<uint8_t> s(q.params[1].bytes.size());
  fastest(all_codebook_searches()).search(p, d.data(), s.data(), q.codes.data());
  for (size_t i = 0; i < d.size(); ++i)
    if (!std::isfinite(d[i])) refuse_large(static_cast<int64_t>(i) * kSuper / q.cols, Dtype::f16);
  from_f32(Dtype::f16, d, q.params[0].bytes);
  std::transform(s.begin(), s.end(), q.params[1].bytes.begin(), [](uint8_t x) { return std::byte{x}; });
}

void CodebookGrid::encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float> importance) const {
  const std::vector<float> even = evened(importance);
  fastest(all_codebook_searches())
      .encode(problem(book_, w, even, q, steps_, unit_), blocks(q).scales.data(), q.codes.data());
}

float CodebookGrid::scale_of(float d, int stored) const {
  const float scale = d * unit_ * static_cast<float>(2 * (stored & steps_) + 1);
  return stored > steps_ ? -scale : scale;
}

int CodebookGrid::step_of(float scale, float d) const {
  const float unit = d * unit_;
  if (!(unit > 0)) return 0;
  return static_cast<int>(std::clamp(std::nearbyint((scale / unit - 1) / 2), 0.0f, static_cast<float>(steps_)));
}

BlockGrid::Blocks CodebookGrid::blocks(const QuantizedMatrix& q) const {
  const std::vector<float> d = floats_of(q.params[0]);
  Blocks b{floats_of(q.params[1]), {}};
  const size_t subs = b.scales.size() / d.size();
  for (size_t i = 0; i < b.scales.size(); ++i) b.scales[i] = scale_of(d[i / subs], static_cast<int>(b.scales[i]));
  b.offsets.resize(b.scales.size());
  return b;
}

ScaleOffset CodebookGrid::effective(const QuantizedMatrix& q, int64_t row, int64_t col) const {
  const int64_t sub = col / q.scheme.levels[1].block.cols;
  return {scale_of(q.params[0].get(row, col / kSuper), static_cast<int>(q.params[1].get(row, sub))), 0};
}

ScaleOffset CodebookGrid::project(const QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset wanted) const {
  const float d = q.params[0].get(row, col / kSuper);
  const bool negative = std::signbit(effective(q, row, col).scale);
  return {scale_of(d, step_of(negative ? -wanted.scale : wanted.scale, d) + (negative ? steps_ + 1 : 0)), 0};
}

void CodebookGrid::set(QuantizedMatrix& q, int64_t row, int64_t col, ScaleOffset e) const {
  const float d = q.params[0].get(row, col / kSuper);
  const int stored = step_of(std::abs(e.scale), d) + (std::signbit(e.scale) ? steps_ + 1 : 0);
  q.params[1].set(row, col / q.scheme.levels[1].block.cols, static_cast<float>(stored));
}

void CodebookGrid::round_words(const Scheme&, const float* scale, const float* x, const float* importance, int64_t n,
                               uint8_t* codes, float* values) const {
  fastest(all_codebook_searches()).round(book_, scheme_.codeword, scale, x, importance, n, codes, values);
}

}  // namespace kerf
