// The inputs that the matrices of a group share, as calibration sums them up. They may lie in a file, so they are read
// in pieces.
#pragma once

#include "model/run/blockwise_forward.h"
#include "quant/activation_rounding.h"
#include "solver/asymmetric.h"
#include "solver/hessian.h"

namespace kerf {

/// Tokens read at a time: whole batches of Hessian::add().
constexpr int64_t kTokensAtATime = 4096;

/// f(begin, tokens) over the tokens [first, first + tokens).
template <class F>
void in_pieces(const BlockwiseForward::Group& g, int64_t first, int64_t tokens, F&& f) {
  for (int64_t t = first; t < first + tokens; t += kTokensAtATime) {
    const int64_t n = std::min(kTokensAtATime, first + tokens - t);
    f(t, n);
    g.leave(t, n);
  }
}

/// Of these tokens, finished.
Hessian second_moments(const BlockwiseForward::Group&, int64_t first, int64_t tokens);
/// What the group lacks beside the same one in full precision.
AsymmetricMoments shortfall(const BlockwiseForward::Group&, const BlockwiseForward::Group& full, int64_t first,
                            int64_t tokens);
/// Some of the first `tokens`, evenly spread; rounded in parts of `group` channels where these divide them.
ActivationSample sample(const BlockwiseForward::Group&, int64_t tokens, int64_t group);

}  // namespace kerf
