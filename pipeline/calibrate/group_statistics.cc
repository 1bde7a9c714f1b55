// Sums go over the tokens in their order, in pieces of fixed size, whatever the number of threads.
#include "pipeline/calibrate/group_statistics.h"

#include <algorithm>
#include <cmath>

#include "solver/column_elimination.h"

namespace kerf {
namespace {

using Group = BlockwiseForward::Group;

// Tokens read at a time: whole batches of Hessian::add().
constexpr int64_t kTokensAtATime = 4096;
// Tokens that stand for all where the rounding of activations is weighed.
constexpr int64_t kSampledTokens = 1024;

// f(begin, tokens) over the tokens [first, first + tokens).
template <class F>
void in_pieces(const Group& g, int64_t first, int64_t tokens, F&& f) {
  for (int64_t t = first; t < first + tokens; t += kTokensAtATime) {
    const int64_t n = std::min(kTokensAtATime, first + tokens - t);
    f(t, n);
    g.leave(t, n);
  }
}

// Rows of x [weights.size(), width], each times the root of its weight, so that products of two count by it; without
// weights x as it is.
struct WeightedRows {
  WeightedRows(const float* x, int64_t width, std::span<const float> weights) : data(x) {
    if (weights.empty()) return;
    weighted.assign(x, x + std::ssize(weights) * width);
    for (size_t row = 0; row < weights.size(); ++row) {
      const float root = std::sqrt(weights[row]);
      for (int64_t c = 0; c < width; ++c) weighted[row * static_cast<size_t>(width) + static_cast<size_t>(c)] *= root;
    }
    data = weighted.data();
  }
  std::vector<float> weighted;
  const float* data;
};

// Those of the tokens [t, t + n), none where there are none.
std::span<const float> weights_of(const StatisticsNeeds& needs, int64_t t, int64_t n) {
  if (needs.token_weights.empty()) return {};
  return std::span(needs.token_weights).subspan(static_cast<size_t>(t), static_cast<size_t>(n));
}

Hessian second_moments(const Group& g, const StatisticsNeeds& needs, int64_t first, int64_t tokens) {
  const int64_t in = g.sites[0].in;
  Hessian h(in);
  in_pieces(g, first, tokens,
            [&](int64_t t, int64_t n) { h.add(WeightedRows(g.x + t * in, in, weights_of(needs, t, n)).data, n, in); });
  h.finish(g.sites[0].name);
  return h;
}

// Rows [t, t + n) of x [tokens, width], with these of their columns, in this order; empty: as they are.
struct PickedRows {
  PickedRows(const float* x, int64_t width, std::span<const int64_t> columns, int64_t t, int64_t n)
      : picked(columns.empty() ? std::vector<float>()
                               : columns_of({x + t * width, static_cast<size_t>(n * width)}, n, width, columns)),
        data(columns.empty() ? x + t * width : picked.data()) {}
  const std::vector<float> picked;
  const float* const data;
};

// What the group lacks beside the same one in full precision.
AsymmetricMoments asymmetric_moments(const Group& g, const StatisticsNeeds& needs, int64_t first, int64_t tokens) {
  const Group& full = *needs.full;
  const int64_t in = g.sites[0].in, full_in = full.sites[0].in, full_out = full.sites[0].out;
  const int64_t out = g.states ? g.sites[0].out : 0;
  AsymmetricMoments s(in, out, full_in);
  in_pieces(g, first, tokens, [&](int64_t t, int64_t n) {
    const std::span<const float> weights = weights_of(needs, t, n);
    const PickedRows picked_x(full.x, full_in, needs.full_inputs, t, n);
    const WeightedRows x(g.x + t * in, in, weights), full_x(picked_x.data, full_in, weights);
    if (out) {
      const PickedRows picked(full.states->data(), full_out, needs.full_states, t, n);
      const WeightedRows states(g.states->data() + t * out, out, weights), full_states(picked.data, out, weights);
      s.add(x.data, full_x.data, states.data, full_states.data, n);
    } else {
      s.add(x.data, full_x.data, nullptr, nullptr, n);
    }
    full.leave(t, n);
  });
  return s;
}

// Some of the first `tokens`, evenly spread; rounded in parts of `channels` where these divide them.
ActivationSample sample(const Group& g, int64_t tokens, int64_t channels) {
  const int64_t in = g.sites[0].in, rows = std::min(kSampledTokens, tokens);
  ActivationSample s{.rows = rows, .cols = in, .group = in % std::max<int64_t>(channels, 1) == 0 ? channels : 0};
  s.tokens_per_row = static_cast<double>(tokens) / static_cast<double>(rows);
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = g.x + r * tokens / rows * in;
    s.x.insert(s.x.end(), x, x + in);
  }
  g.leave(0, tokens);
  return s;
}

std::vector<double> sums_of(const Group& g) {
  const auto in = static_cast<size_t>(g.sites[0].in);
  std::vector<double> sums(in);
  in_pieces(g, 0, g.tokens, [&](int64_t begin, int64_t tokens) {
    for (int64_t t = begin; t < begin + tokens; ++t)
      for (size_t c = 0; c < in; ++c) sums[c] += static_cast<double>(g.x[static_cast<size_t>(t) * in + c]);
  });
  return sums;
}

}  // namespace

StatisticsNeeds needs_of(const Group& g, const PlannedMatrices& planned) {
  StatisticsNeeds needs;
  for (size_t i = 0; i < g.sites.size(); ++i) {
    const PlannedMatrix& matrix = *planned.at(g.sites[i].name);
    const Storage& storage = matrix.storage;
    if (storage.activations && !needs.rounded_channels) needs.rounded_channels = storage.activations->group;
    needs.sums = needs.sums || ((storage.layout || matrix.sparsity) && !g.biases[i].empty());
  }
  return needs;
}

InputStatistics group_statistics(const Group& g, const StatisticsNeeds& needs) {
  const int64_t validation = needs.validation_tokens, fitted = g.tokens - validation;
  InputStatistics s{.fitted = second_moments(g, needs, 0, fitted), .tokens = g.tokens};
  if (validation > 0) s.validation = second_moments(g, needs, fitted, validation);
  if (needs.full)
    s.asymmetric = {asymmetric_moments(g, needs, 0, fitted), asymmetric_moments(g, needs, fitted, validation)};
  if (needs.rounded_channels) s.sample = sample(g, fitted, *needs.rounded_channels);
  if (needs.sums) s.sums = sums_of(g);
  return s;
}

}  // namespace kerf
