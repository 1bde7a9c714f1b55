// A grid search over alpha, on a sample of rows rounded to nearest under each candidate's scales.
#include "quant/awq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/checked.h"
#include "core/parallel.h"
#include "grids/grid.h"

namespace kerf {
namespace {

constexpr int64_t kRows = 256;  // of a site that the search looks at
constexpr int kSteps = 10;      // of alpha
// Scales stay within 2^-3 ... 2^3: beyond, small columns would vanish from the group's range.
constexpr float kLargest = 8.0f;

// The largest of what channels with one source have.
std::vector<float> by_source(const std::vector<float>& channel, std::span<const int64_t> source) {
  std::vector<float> largest(static_cast<size_t>(1 + *std::max_element(source.begin(), source.end())));
  for (size_t c = 0; c < channel.size(); ++c) {
    float& m = largest[static_cast<size_t>(source[c])];
    m = std::max(m, channel[c]);
  }
  std::vector<float> m(source.size());
  for (size_t c = 0; c < m.size(); ++c) m[c] = largest[static_cast<size_t>(source[c])];
  return m;
}

std::vector<float> root_mean_squares(const Hessian& h) {
  std::vector<float> m(static_cast<size_t>(h.n));
  for (int64_t c = 0; c < h.n; ++c) m[static_cast<size_t>(c)] = std::sqrt(h.diagonal(c));
  return m;
}

std::vector<float> largest_weights(std::span<const ScaledSite> sites, size_t cols) {
  std::vector<float> most(cols);
  for (const ScaledSite& s : sites)
    for (size_t i = 0; i < s.w.size(); i += cols)
      for (size_t c = 0; c < cols; ++c) most[c] = std::max(most[c], std::abs(s.w[i + c]));
  return most;
}

// Of a positive magnitude, normalized.
std::vector<float> scales_of(const std::vector<float>& magnitude, bool exact) {
  float low = INFINITY, high = 0;
  for (const float m : magnitude)
    if (m > 0) {
      low = std::min(low, m);
      high = std::max(high, m);
    }
  std::vector<float> s(magnitude.size(), 1.0f);
  if (high == 0) return s;
  const float middle = std::sqrt(low) * std::sqrt(high);
  for (size_t c = 0; c < s.size(); ++c) {
    if (magnitude[c] <= 0) continue;
    s[c] = std::clamp(magnitude[c] / middle, 1 / kLargest, kLargest);
    if (exact) s[c] = std::exp2(std::nearbyint(std::log2(s[c])));
  }
  return s;
}

// a^alpha, or a^alpha / b^(1 - alpha); zero where a or b is.
std::vector<float> magnitude_of(const std::vector<float>& a, const std::vector<float>& b, double alpha) {
  std::vector<float> m(a.size());
  for (size_t c = 0; c < m.size(); ++c) {
    if (a[c] <= 0 || (!b.empty() && b[c] <= 0)) continue;
    const double numerator = std::pow(static_cast<double>(a[c]), alpha);
    m[c] = static_cast<float>(b.empty() ? numerator : numerator / std::pow(static_cast<double>(b[c]), 1 - alpha));
  }
  return m;
}

// Some rows, evenly spread.
std::vector<float> sample(const ScaledSite& site, int64_t cols, int64_t* rows) {
  *rows = std::min(kRows, site.rows);
  std::vector<float> w(static_cast<size_t>(*rows * cols));
  for (int64_t r = 0; r < *rows; ++r)
    std::copy_n(site.w.data() + r * site.rows / *rows * cols, cols, w.data() + r * cols);
  return w;
}

// Errors of rounding to nearest under scales, on a sample of rows.
class Search {
 public:
  Search(std::span<const ScaledSite> sites, const Hessian& h, const ActivationSample* rounded)
      : sites_(sites), h_(h), rounded_(rounded) {
    for (const ScaledSite& site : sites) {
      Sample s;
      s.w = sample(site, h.n, &s.rows);
      s.signal = std::max(squared_outputs(h, s.w, s.rows), 1e-30);
      samples_.push_back(std::move(s));
    }
  }

  double error(const std::vector<float>& s) const {
    std::vector<float> importance(s.size());
    for (size_t c = 0; c < s.size(); ++c) importance[c] = h_.diagonal(static_cast<int64_t>(c)) / (s[c] * s[c]);
    const std::vector<double> noise = rounded_ ? rounding_noise(*rounded_, s) : std::vector<double>();
    double error = 0;
    for (size_t i = 0; i < sites_.size(); ++i) {
      std::vector<float> values = rounded_values(i, s, importance);
      error += noise_error(noise, values) / samples_[i].signal;
      unscale_columns(values, s);
      for (size_t k = 0; k < values.size(); ++k) values[k] -= samples_[i].w[k];
      error += squared_outputs(h_, values, samples_[i].rows) / samples_[i].signal;
    }
    return error;
  }

 private:
  struct Sample {
    std::vector<float> w;
    int64_t rows;
    double signal;
  };

  std::vector<float> rounded_values(size_t i, const std::vector<float>& s, std::span<const float> importance) const {
    const Scheme& scheme = sites_[i].scheme;
    const Grid& grid = find_grid(scheme.grid);
    const std::vector<float> w = scale_columns(samples_[i].w, s);
    std::vector<float> values(w.size());
    constexpr int64_t kPanel = 32;
    parallel_for(ceil_div(samples_[i].rows, kPanel), [&](int64_t p) {
      const int64_t begin = p * kPanel, rows = std::min(kPanel, samples_[i].rows - begin);
      const auto part = [&](auto& v) {
        return std::span(v).subspan(static_cast<size_t>(begin * h_.n), static_cast<size_t>(rows * h_.n));
      };
      QuantizedMatrix q = allocate(scheme, rows, h_.n);
      grid.fit_and_encode(part(w), importance, q);
      grid.decode(q, part(values));
    });
    return values;
  }

  std::span<const ScaledSite> sites_;
  const Hessian& h_;
  const ActivationSample* rounded_;
  std::vector<Sample> samples_;
};

}  // namespace

ScaleChoice awq_scales(std::span<const ScaledSite> sites, const Hessian& h, std::span<const int64_t> source, bool exact,
                       const ActivationSample* rounded) {
  const Search search(sites, h, rounded);
  ScaleChoice best;
  double least = INFINITY;
  const auto consider = [&](const std::vector<float>& a, const std::vector<float>& b, double alpha) {
    std::vector<float> s = scales_of(magnitude_of(a, b, alpha), exact);
    const double error = search.error(s);
    if (error >= least) return;
    least = error;
    best = {std::move(s), alpha, !b.empty()};
  };
  const std::vector<float> magnitude = by_source(root_mean_squares(h), source);
  for (int step = 0; step <= kSteps; ++step) consider(magnitude, {}, static_cast<double>(step) / kSteps);
  if (!rounded) return best;
  const std::vector<float> a = by_source(rounded->largest(), source);
  const std::vector<float> b = by_source(largest_weights(sites, source.size()), source);
  for (int step = 1; step < kSteps; ++step) consider(a, b, static_cast<double>(step) / kSteps);
  return best;
}

Hessian scaled(const Hessian& h, std::span<const float> s) {
  Hessian out = h;
  for (int64_t i = 0; i < h.n; ++i)
    for (int64_t j = 0; j < h.n; ++j)
      out.values[static_cast<size_t>(i * h.n + j)] /= s[static_cast<size_t>(i)] * s[static_cast<size_t>(j)];
  return out;
}

std::vector<float> scale_columns(std::span<const float> w, std::span<const float> s) {
  std::vector<float> out(w.begin(), w.end());
  for (size_t r = 0; r < w.size(); r += s.size())
    for (size_t c = 0; c < s.size(); ++c) out[r + c] *= s[c];
  return out;
}

void unscale_columns(std::span<float> w, std::span<const float> s) {
  for (size_t r = 0; r < w.size(); r += s.size())
    for (size_t c = 0; c < s.size(); ++c) w[r + c] /= s[c];
}

}  // namespace kerf
