#include "pipeline/calibrate/group_inputs.h"

#include <algorithm>

namespace kerf {
namespace {

// Tokens that stand for all where the rounding of activations is weighed.
constexpr int64_t kSampledTokens = 1024;

}  // namespace

Hessian second_moments(const BlockwiseForward::Group& g, int64_t first, int64_t tokens) {
  const int64_t in = g.sites[0].in;
  Hessian h(in);
  in_pieces(g, first, tokens, [&](int64_t t, int64_t n) { h.add(g.x + t * in, n, in); });
  h.finish(g.sites[0].name);
  return h;
}

AsymmetricMoments shortfall(const BlockwiseForward::Group& g, const BlockwiseForward::Group& full, int64_t first,
                            int64_t tokens) {
  const int64_t in = g.sites[0].in, out = g.states ? g.sites[0].out : 0;
  AsymmetricMoments s(in, out);
  const auto states = [&](const BlockwiseForward::Group& of, int64_t t) {
    return out ? of.states->data() + t * out : nullptr;
  };
  in_pieces(g, first, tokens, [&](int64_t t, int64_t n) {
    s.add(g.x + t * in, full.x + t * in, states(g, t), states(full, t), n);
    full.leave(t, n);
  });
  return s;
}

ActivationSample sample(const BlockwiseForward::Group& g, int64_t tokens, int64_t group) {
  const int64_t in = g.sites[0].in, rows = std::min(kSampledTokens, tokens);
  ActivationSample s{.rows = rows, .cols = in, .group = in % std::max<int64_t>(group, 1) == 0 ? group : 0};
  s.tokens_per_row = static_cast<double>(tokens) / static_cast<double>(rows);
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = g.x + r * tokens / rows * in;
    s.x.insert(s.x.end(), x, x + in);
  }
  g.leave(0, tokens);
  return s;
}

}  // namespace kerf
