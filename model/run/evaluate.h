// How well a model predicts a text, and how far a compressed one is from its reference.
//
// Scored positions: in every window, each position t whose next token t + 1 lies in the same window, so length - 1 per
// window; a leading BOS is a context and never predicted. All figures are means over the scored positions:
//   nll = -log p(next token), ppl = e^mean(nll)
//   KL  = sum over the vocabulary of p log(p / q), natural logarithm, p the reference's distribution, q the packed
//   one's top1 = share of positions where both have the same most probable token (lowest id among equals)
// Standard errors: tokens of one window are not independent, so the windows are the sample: for W windows with means
// m_w, sqrt(sum (m_w - m)^2 / (W (W - 1))). A single window gives no estimate: then the tokens are the sample, which
// understates the error. That of e^mean is e^mean times that of the mean (first order).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/run/logits.h"
#include "model/text/windows.h"

namespace kerf {

struct Perplexity {
  int64_t tokens = 0, windows = 0;  // tokens counts scored positions
  double nll = 0, nll_stderr = 0;
  double ppl = 0, ppl_stderr = 0;
  std::vector<float> nll_per_token;  // [windows, length - 1]
};

struct Comparison {
  int64_t tokens = 0, windows = 0;
  double ppl_reference = 0, ppl_reference_stderr = 0;
  double ppl = 0, ppl_stderr = 0;
  double ppl_ratio = 0, ppl_ratio_stderr = 0;  // packed / reference; the error is that of the paired difference of nll
  double kl_mean = 0, kl_stderr = 0;
  double kl_median = 0, kl_p99 = 0, kl_max = 0;  // quantiles interpolate linearly between order statistics
  double top1 = 0, top1_stderr = 0;
  // [windows, length - 1]
  std::vector<float> kl_per_token, nll_per_token, nll_reference_per_token;
  std::vector<uint8_t> same_top1;
  /// Of a packed model with fewer tokens: mean share of the reference's distribution that lies on the others. 0 where
  /// the vocabularies are the same.
  double lost_mass = 0, lost_mass_stderr = 0;
};

/// `a` minus `b`, both against the same reference and windows; errors of the paired differences.
struct Difference {
  double kl = 0, kl_stderr = 0;
  double nll = 0, nll_stderr = 0;  // log(ppl_a / ppl_b)
  double top1 = 0, top1_stderr = 0;
};

/// Called as (part done, parts).
using EvaluationProgress = std::function<void(int64_t, int64_t)>;

/// Error numerical when a logit is NaN or infinite.
Perplexity evaluate(const Logits&, const Windows&, const EvaluationProgress& = {});

/// Each of `packed` against `reference`. The vocabulary is walked in panels and every logit computed once: memory grows
/// with the tokens, not with tokens x vocabulary.
///
/// `kept`, one per packed model or empty: nullptr for one with the reference's token ids; else, of one with fewer, the
/// reference's id of each of its ids, strictly increasing (see verify/correspondence.h). The windows are in the
/// reference's ids; each of them must be kept. With K the kept ids and P = sum over K of p:
///   KL = sum over K of (p / P) log((p / P) / q), the reference's nll is that of p / P, lost mass = 1 - P,
/// and top1 compares with its most probable token of all.
std::vector<Comparison> compare(const Logits& reference, std::span<const Logits* const> packed, const Windows&,
                                const EvaluationProgress& = {}, std::span<const std::vector<int32_t>* const> kept = {});

Difference paired_difference(const Comparison& a, const Comparison& b);

/// Mean of values [windows, n / windows], and its standard error as above.
struct Estimate {
  double mean = 0, error = 0;
};
Estimate estimate(std::span<const double> values, int64_t windows);

}  // namespace kerf
