// Scaling of input channels, which the norm or matrix before takes back: columns that meet large activations are stored
// larger, so that the grid's steps are finer for them (AWQ, Lin et al., 2023), and where activations are rounded too,
// those become even (SmoothQuant, Xiao et al., 2022).
#pragma once

#include <span>
#include <vector>

#include "grids/scheme.h"
#include "quant/activation_rounding.h"
#include "solver/hessian.h"

namespace kerf {

/// A matrix among those that read the same input.
struct ScaledSite {
  std::span<const float> w;  // [rows, cols]
  int64_t rows = 0;
  Scheme scheme;
};

struct ScaleChoice {
  std::vector<float> scales;  // [cols], 1 where nothing is gained
  double alpha = 0;           // 0 means that no scaling is best
  bool smooth = false;        // by SmoothQuant's formula
};

/// s[c] > 0 such that rounding w[:, c] * s[c] to nearest loses least once the input is x_c / s[c]: s = m^alpha, m the
/// root mean square of the input channel, normalized to a geometric mean of 1 over its extremes; alpha in 0, 0.1 ... 1
/// is tried on up to 256 rows of each site by the output error, each site's relative to its output. Channels with the
/// same `source` get the same scale (the root of their largest mean square decides). With `exact` scales are powers of
/// two, so that they can be folded into quantized rows without rounding.
///
/// With an activation sample the error is that of weights and activations, and m = a^alpha / b^(1 - alpha) is tried as
/// well, a the largest activation of a channel and b the largest weight of its column in any site.
ScaleChoice awq_scales(std::span<const ScaledSite>, const Hessian&, std::span<const int64_t> source, bool exact,
                       const ActivationSample* rounded = nullptr);

/// The statistics of inputs divided by s: H[i, j] / (s_i s_j).
Hessian scaled(const Hessian&, std::span<const float> s);
/// w[:, c] * s[c], or divided by it.
std::vector<float> scale_columns(std::span<const float> w, std::span<const float> s);
void unscale_columns(std::span<float> w, std::span<const float> s);

}  // namespace kerf
