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

std::vector<float> magnitudes(const Hessian& h, std::span<const int64_t> source) {
  const int64_t sources = 1 + *std::max_element(source.begin(), source.end());
  std::vector<float> largest(static_cast<size_t>(sources));
  for (int64_t c = 0; c < h.n; ++c) {
    float& m = largest[static_cast<size_t>(source[static_cast<size_t>(c)])];
    m = std::max(m, h.diagonal(c));
  }
  std::vector<float> m(source.size());
  for (size_t c = 0; c < m.size(); ++c) m[c] = std::sqrt(largest[static_cast<size_t>(source[c])]);
  return m;
}

std::vector<float> scales_of(const std::vector<float>& magnitude, double alpha, bool exact) {
  float low = INFINITY, high = 0;
  for (const float m : magnitude)
    if (m > 0) {
      low = std::min(low, m);
      high = std::max(high, m);
    }
  std::vector<float> s(magnitude.size(), 1.0f);
  if (high == 0) return s;
  const double middle = std::sqrt(static_cast<double>(low) * static_cast<double>(high));
  for (size_t c = 0; c < s.size(); ++c) {
    if (magnitude[c] <= 0) continue;
    s[c] = std::clamp(static_cast<float>(std::pow(static_cast<double>(magnitude[c]) / middle, alpha)), 1 / kLargest,
                      kLargest);
    if (exact) s[c] = std::exp2(std::nearbyint(std::log2(s[c])));
  }
  return s;
}

// Some rows, evenly spread.
std::vector<float> sample(const ScaledSite& site, int64_t cols, int64_t* rows) {
  *rows = std::min(kRows, site.rows);
  std::vector<float> w(static_cast<size_t>(*rows * cols));
  for (int64_t r = 0; r < *rows; ++r)
    std::copy_n(site.w.data() + r * site.rows / *rows * cols, cols, w.data() + r * cols);
  return w;
}

double sum(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

}  // namespace

ScaleChoice awq_scales(std::span<const ScaledSite> sites, const Hessian& h, std::span<const int64_t> source,
                       bool exact) {
  const std::vector<float> magnitude = magnitudes(h, source);
  struct Sample {
    std::vector<float> w;
    int64_t rows;
    double signal;
  };
  std::vector<Sample> samples;
  for (const ScaledSite& site : sites) {
    Sample s;
    s.w = sample(site, h.n, &s.rows);
    s.signal = std::max(sum(hessian_norms(h, s.w, s.rows)), 1e-30);
    samples.push_back(std::move(s));
  }
  ScaleChoice best;
  double least = INFINITY;
  for (int step = 0; step <= kSteps; ++step) {
    const double alpha = static_cast<double>(step) / kSteps;
    const std::vector<float> s = scales_of(magnitude, alpha, exact);
    std::vector<float> importance(s.size());
    for (size_t c = 0; c < s.size(); ++c) importance[c] = h.diagonal(static_cast<int64_t>(c)) / (s[c] * s[c]);
    double error = 0;
    for (size_t i = 0; i < sites.size(); ++i) {
      const Grid& grid = find_grid(sites[i].scheme.grid);
      const std::vector<float> w = scale_columns(samples[i].w, s);
      std::vector<float> e(w.size());
      constexpr int64_t kPanel = 32;
      parallel_for(ceil_div(samples[i].rows, kPanel), [&](int64_t p) {
        const int64_t begin = p * kPanel, rows = std::min(kPanel, samples[i].rows - begin);
        const auto part = [&](auto& v) {
          return std::span(v).subspan(static_cast<size_t>(begin * h.n), static_cast<size_t>(rows * h.n));
        };
        QuantizedMatrix q = allocate(sites[i].scheme, rows, h.n);
        grid.fit(part(w), importance, q);
        grid.encode(part(w), q, importance);
        grid.decode(q, part(e));
      });
      unscale_columns(e, s);
      for (size_t k = 0; k < e.size(); ++k) e[k] -= samples[i].w[k];
      error += sum(hessian_norms(h, e, samples[i].rows)) / samples[i].signal;
    }
    if (error >= least) continue;
    least = error;
    best = {s, alpha};
  }
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
