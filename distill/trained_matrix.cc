// EfficientQAT (arXiv 2407.11062) trains scales end to end with codes fixed; AutoRound (arXiv 2309.05516) codes by the
// sign of their gradients.
#include "distill/trained_matrix.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace kerf {
namespace {

// A scale stays within these multiples of what it was.
constexpr float kLeastMultiple = 0.25F, kMostMultiple = 4;
constexpr int64_t kRowsAtOnce = 64;

template <class F>
void for_rows(int64_t rows, F&& of) {
  parallel_for((rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i) {
    for (int64_t r = i * kRowsAtOnce; r < std::min(rows, (i + 1) * kRowsAtOnce); ++r) of(r);
  });
}

// Of a weight that lies `off` steps from its code. The nearer it is to the border of the cell, the cheaper the other
// code; and where error feedback has chosen a code that is not the nearest, from outside as well.
float first_position(float off, float most) {
  const float size = std::abs(off), inside = std::min(size, std::max(0.0F, 1 - size));
  return std::copysign(std::min(inside, most), off);
}

float half_of_codes(const Scheme& s) { return static_cast<float>(1 << (s.bits - 1)); }

}  // namespace

TrainedMatrix::TrainedMatrix(QuantizedMatrix q, Trains trains, std::span<const float> wanted)
    : q_(std::move(q)),
      grid_(find_grid(q_.scheme.grid)),
      group_(group_columns(q_.scheme, q_.cols)),
      super_(superblock_columns(q_.scheme, q_.cols)),
      blocks_per_row_(group_ == 0 ? 0 : q_.cols / group_),
      adds_offset_(kerf::adds_offset(q_.scheme)),
      scales_(trains.scales && group_ > 0),
      codes_(trains.codes && group_ > 0 && q_.scheme.codeword == 1),
      values_(static_cast<size_t>(q_.rows * q_.cols)) {
  grid_.decode(q_, values_);
  if (!trained()) return;
  const auto blocks = static_cast<size_t>(q_.rows * blocks_per_row_);
  first_.resize(blocks);
  for_rows(q_.rows, [&](int64_t r) {
    for (int64_t c = 0; c < q_.cols; c += group_) first_[block_of(r, c)] = grid_.effective(q_, r, c);
  });
  now_ = first_;
  first_params_ = q_.params;
  if (scales_) {
    scale_.assign(blocks, 1);
    d_scale_.resize(blocks);
    if (adds_offset_) {
      offset_.resize(blocks);
      d_offset_.resize(blocks);
    }
  }
  if (!codes_) return;
  for (uint32_t code = 0; code < 1U << q_.scheme.bits; ++code) {
    const ScaleOffset unit{1, 0};
    const Grid::Neighbours beside = grid_.neighbours(q_.scheme, unit, code);
    const float own = grid_.value(q_.scheme, unit, code);
    up_.push_back(grid_.value(q_.scheme, unit, beside.above) - own);
    down_.push_back(own - grid_.value(q_.scheme, unit, beside.below));
  }
  first_codes_ = q_.codes;
  position_.resize(values_.size());
  d_position_.resize(values_.size());
  if (trains.keep_zeros) {
    fixed_.resize(values_.size());
    std::transform(values_.begin(), values_.end(), fixed_.begin(), [](float x) { return x == 0 ? 1 : 0; });
  }
  if (wanted.empty()) return;
  for_rows(q_.rows, [&](int64_t r) {
    for (int64_t c = 0; c < q_.cols; ++c) {
      const auto i = static_cast<size_t>(r * q_.cols + c);
      const float s = first_[block_of(r, c)].scale;
      const float off = s == 0 ? 0 : (wanted[i] - values_[i]) / s, one = step(first_codes_[i], off);
      if (one > 0) position_[i] = first_position(off / one, trains.most_at_first);
    }
  });
}

void TrainedMatrix::row(int64_t r, std::span<float> out) const {
  std::copy_n(values_.begin() + r * q_.cols, q_.cols, out.begin());
}

void TrainedMatrix::add_gradient(std::span<const float> d) {
  for_rows(q_.rows, [&](int64_t r) {
    add_row_gradient(r, d.subspan(static_cast<size_t>(r * q_.cols), static_cast<size_t>(q_.cols)));
  });
}

void TrainedMatrix::add_row_gradient(int64_t r, std::span<const float> d) {
  const auto begin = static_cast<size_t>(r * q_.cols);
  for (int64_t first = 0; first < q_.cols; first += group_) {
    const size_t b = block_of(r, first);
    const auto [s, z] = now_[b];
    const float o = adds_offset_ ? z : 0;
    float with_values = 0, sum = 0;
    for (int64_t c = first; c < first + group_; ++c) {
      const auto i = static_cast<size_t>(c);
      with_values += d[i] * (values_[begin + i] - o);
      sum += d[i];
    }
    if (scales_) {
      if (s != 0) d_scale_[b] += with_values / s * first_[b].scale;
      if (adds_offset_) d_offset_[b] += sum * std::abs(first_[b].scale) * half_of_codes(q_.scheme);
    }
    if (!codes_) continue;
    for (int64_t c = first; c < first + group_; ++c) {
      const size_t i = begin + static_cast<size_t>(c);
      if (fixed_.empty() || fixed_[i] == 0)
        d_position_[i] += d[static_cast<size_t>(c)] * s * step(first_codes_[i], position_[i]);
    }
  }
}

std::vector<Parameter> TrainedMatrix::parameters() {
  std::vector<Parameter> all;
  if (scales_) all.push_back({.values = scale_, .gradient = d_scale_});
  if (!offset_.empty()) all.push_back({.values = offset_, .gradient = d_offset_});
  if (codes_) all.push_back({.values = position_, .gradient = d_position_, .code = true});
  return all;
}

void TrainedMatrix::settle_scales(int64_t r) {
  const auto wanted = [&](size_t b) {
    scale_[b] = std::clamp(scale_[b], kLeastMultiple, kMostMultiple);
    ScaleOffset e{first_[b].scale * scale_[b], first_[b].offset};
    if (adds_offset_) e.offset += std::abs(first_[b].scale) * half_of_codes(q_.scheme) * offset_[b];
    return e;
  };
  if (super_ != group_)
    for (int64_t begin = 0; begin < q_.cols; begin += super_) {
      // The coarse number that fits the wanted ones best under the multiples of it that there were at first.
      double ss = 0, se = 0, oo = 0, oe = 0;
      for (int64_t c = begin; c < begin + super_; c += group_) {
        const ScaleOffset want = wanted(block_of(r, c)), is = first_[block_of(r, c)];
        ss += static_cast<double>(is.scale) * static_cast<double>(is.scale);
        se += static_cast<double>(is.scale) * static_cast<double>(want.scale);
        oo += static_cast<double>(is.offset) * static_cast<double>(is.offset);
        oe += static_cast<double>(is.offset) * static_cast<double>(want.offset);
      }
      const auto refit = [&](ParamArray& level, double product, double square) {
        const int64_t at = begin / super_;
        if (square > 0 && product > 0) level.set(r, at, level.get(r, at) * static_cast<float>(product / square));
      };
      refit(q_.params[0], se, ss);
      if (adds_offset_) refit(q_.params[1], oe, oo);
    }
  for (int64_t c = 0; c < q_.cols; c += group_) {
    const size_t b = block_of(r, c);
    grid_.set(q_, r, c, grid_.project(q_, r, c, wanted(b)));
    now_[b] = grid_.effective(q_, r, c);
  }
}

void TrainedMatrix::settle_codes(int64_t r) {
  const auto n = static_cast<size_t>(q_.cols), begin = static_cast<size_t>(r) * n;
  std::vector<float> scale(n), offset(n), x(n), value(n);
  for (size_t c = 0; c < n; ++c) {
    const size_t i = begin + c;
    const auto [s, z] = now_[block_of(r, static_cast<int64_t>(c))];
    scale[c] = s;
    offset[c] = z;
    position_[i] = std::clamp(position_[i], -1.0F, 1.0F);
    const float first = grid_.value(q_.scheme, {s, z}, first_codes_[i]);
    x[c] = first + s * position_[i] * step(first_codes_[i], position_[i]);
  }
  const std::span<uint8_t> codes = q_.code_row(r);
  grid_.round(q_.scheme, scale.data(), offset.data(), x.data(), q_.cols, codes.data(), value.data());
  for (size_t c = 0; c < n; ++c)
    if ((!fixed_.empty() && fixed_[begin + c] != 0) || scale[c] == 0) codes[c] = first_codes_[begin + c];
}

void TrainedMatrix::settle() {
  if (!trained()) return;
  q_.params = first_params_;  // so that the result follows from the parameters alone
  for_rows(q_.rows, [&](int64_t r) {
    if (scales_) settle_scales(r);
    if (codes_) settle_codes(r);
  });
  grid_.decode(q_, values_);
}

}  // namespace kerf
