// Panels of the vocabulary are the outer loop, so that each row of a head is converted once; per token only running
// maxima and sums are kept (the "online" log-sum-exp), rescaled when a panel brings a larger logit.
#include "model/run/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {
namespace {

// A panel of 512 x 1,024 floats is 2 MiB: two of them stay in the caches between product and sums.
constexpr int64_t kTokens = 512, kRows = 1024;
constexpr int64_t kTokensPerTask = 16;

/// The softmax of one token's logits, seen so far.
struct Distribution {
  float max = -std::numeric_limits<float>::infinity();
  float label = 0;  // the logit of the next token
  int32_t argmax = 0;
  double sum = 0;  // of e^(logit - max)

  /// Takes a panel in; returns what earlier sums relative to the maximum have to be multiplied with.
  double add(const float* logits, int64_t row_begin, int64_t n, int32_t next, const Elementwise& ops) {
    const float most = ops.max(logits, n);
    if (!std::isfinite(most))
      fail(ErrorKind::numerical, "a logit is {} (among token ids {} to {})", most, row_begin, row_begin + n - 1);
    double factor = 1;
    if (most > max) {
      factor = std::exp(static_cast<double>(max) - static_cast<double>(most));
      max = most;
      argmax = static_cast<int32_t>(row_begin + (std::find(logits, logits + n, most) - logits));
    }
    sum = sum * factor + ops.sum_exp(logits, n, max);
    if (next >= row_begin && next < row_begin + n) label = logits[next - row_begin];
    return factor;
  }
  double log_sum() const { return static_cast<double>(max) + std::log(sum); }
  double nll() const { return log_sum() - static_cast<double>(label); }
};

/// Id of the token after position t of all windows in a row; -1 at the end of a window.
int32_t next_id(const Windows& w, int64_t t) {
  return t % w.length + 1 < w.length ? w.ids[static_cast<size_t>(t + 1)] : -1;
}

/// Walks the vocabulary: logits(row_begin, row_end, token_begin, tokens) computes, then token(t, row_begin, n, i) is
/// called for the i-th of these tokens, on several threads.
void walk(int64_t tokens, int64_t vocab, const EvaluationProgress& progress,
          const std::function<void(int64_t, int64_t, int64_t, int64_t)>& logits,
          const std::function<void(int64_t, int64_t, int64_t, int64_t)>& token) {
  const int64_t panels = ceil_div(vocab, kRows);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t row = p * kRows, rows = std::min(kRows, vocab - row);
    for (int64_t begin = 0; begin < tokens; begin += kTokens) {
      const int64_t n = std::min(kTokens, tokens - begin);
      logits(row, row + rows, begin, n);
      parallel_for(ceil_div(n, kTokensPerTask), [&](int64_t task) {
        for (int64_t i = task * kTokensPerTask; i < std::min(n, (task + 1) * kTokensPerTask); ++i)
          token(begin + i, row, rows, i);
      });
    }
    if (progress) progress(p + 1, panels);
  }
}

void check_shapes(const Logits& logits, const Windows& windows) {
  if (logits.tokens() != windows.tokens())
    fail(ErrorKind::internal, "logits of {} tokens for {} windows of {}", logits.tokens(), windows.count,
         windows.length);
}

/// f(position) at each scored position, in order.
template <class F>
std::vector<double> at_scored(const Windows& w, F&& f) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(w.count * (w.length - 1)));
  for (int64_t t = 0; t < w.tokens(); ++t)
    if (t % w.length + 1 < w.length) values.push_back(f(static_cast<size_t>(t)));
  return values;
}

std::vector<float> as_floats(const std::vector<double>& v) {
  std::vector<float> f(v.size());
  std::transform(v.begin(), v.end(), f.begin(), [](double x) { return static_cast<float>(x); });
  return f;
}

std::vector<double> difference(const auto& a, const auto& b) {
  std::vector<double> d(a.size());
  for (size_t i = 0; i < d.size(); ++i) d[i] = static_cast<double>(a[i]) - static_cast<double>(b[i]);
  return d;
}

double quantile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto i = static_cast<size_t>(at);
  if (i + 1 >= sorted.size()) return sorted.back();
  return sorted[i] + (at - static_cast<double>(i)) * (sorted[i + 1] - sorted[i]);
}

/// Token-level figures of one packed model, already gathered at the scored positions.
Comparison summarize(const Windows& w, const std::vector<double>& nll_reference, const std::vector<double>& nll,
                     std::vector<double> kl, const std::vector<double>& same) {
  Comparison c;
  c.tokens = static_cast<int64_t>(nll.size());
  c.windows = w.count;
  const Estimate reference = estimate(nll_reference, w.count), packed = estimate(nll, w.count);
  const Estimate ratio = estimate(difference(nll, nll_reference), w.count);
  c.ppl_reference = std::exp(reference.mean);
  c.ppl_reference_stderr = c.ppl_reference * reference.error;
  c.ppl = std::exp(packed.mean);
  c.ppl_stderr = c.ppl * packed.error;
  c.ppl_ratio = std::exp(ratio.mean);
  c.ppl_ratio_stderr = c.ppl_ratio * ratio.error;
  const Estimate divergence = estimate(kl, w.count), agreement = estimate(same, w.count);
  c.kl_mean = divergence.mean;
  c.kl_stderr = divergence.error;
  c.top1 = agreement.mean;
  c.top1_stderr = agreement.error;
  c.kl_per_token = as_floats(kl);
  c.nll_per_token = as_floats(nll);
  c.nll_reference_per_token = as_floats(nll_reference);
  c.same_top1.assign(same.begin(), same.end());
  std::sort(kl.begin(), kl.end());
  c.kl_median = quantile(kl, 0.5);
  c.kl_p99 = quantile(kl, 0.99);
  c.kl_max = kl.back();
  return c;
}

}  // namespace

Estimate estimate(std::span<const double> values, int64_t windows) {
  const auto n = static_cast<int64_t>(values.size());
  if (n == 0) return {};
  const int64_t blocks = windows > 1 ? windows : n, per_block = n / blocks;
  std::vector<double> means(static_cast<size_t>(blocks));
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    double sum = 0;
    for (int64_t i = 0; i < per_block; ++i) sum += values[static_cast<size_t>(b * per_block + i)];
    means[static_cast<size_t>(b)] = sum / static_cast<double>(per_block);
    total += sum;
  }
  const double mean = total / static_cast<double>(blocks * per_block);
  if (blocks < 2) return {.mean = mean, .error = 0};
  double squares = 0;
  for (double m : means) squares += (m - mean) * (m - mean);
  return {.mean = mean, .error = std::sqrt(squares / (static_cast<double>(blocks) * static_cast<double>(blocks - 1)))};
}

Perplexity evaluate(const Logits& logits, const Windows& windows, const EvaluationProgress& progress) {
  check_shapes(logits, windows);
  const Elementwise& ops = elementwise();
  std::vector<Distribution> state(static_cast<size_t>(windows.tokens()));
  std::vector<float> panel(static_cast<size_t>(kTokens * kRows));
  walk(
      windows.tokens(), logits.vocab(), progress,
      [&](int64_t row_begin, int64_t row_end, int64_t begin, int64_t n) {
        logits.panel(begin, n, row_begin, row_end, panel.data(), kRows);
      },
      [&](int64_t t, int64_t row, int64_t rows, int64_t i) {
        state[static_cast<size_t>(t)].add(panel.data() + i * kRows, row, rows, next_id(windows, t), ops);
      });
  const std::vector<double> nll = at_scored(windows, [&](size_t t) { return state[t].nll(); });
  const Estimate mean = estimate(nll, windows.count);
  const double ppl = std::exp(mean.mean);
  return {.tokens = static_cast<int64_t>(nll.size()),
          .windows = windows.count,
          .nll = mean.mean,
          .nll_stderr = mean.error,
          .ppl = ppl,
          .ppl_stderr = ppl * mean.error,
          .nll_per_token = as_floats(nll)};
}

std::vector<Comparison> compare(const Logits& reference, std::span<const Logits* const> packed, const Windows& windows,
                                const EvaluationProgress& progress, std::span<const std::vector<int32_t>* const> kept) {
  struct Packed {
    const Logits* logits;
    const std::vector<int32_t>* kept;  // nullptr: all
    std::vector<Distribution> state;
    std::vector<double> cross;  // sum of e^(a - max a) (a - b), a the reference's logits, b the packed ones
    std::vector<float> panel;
    // Of fewer tokens: the reference's distribution over those that are kept, and where they lie in the panel at hand.
    std::vector<Distribution> reference;
    std::vector<float> reference_panel;
    std::vector<int32_t> of_reference;  // the id of each of the reference's, -1 where it is not kept
    int64_t begin = 0, end = 0;
  };
  check_shapes(reference, windows);
  const auto tokens = static_cast<size_t>(windows.tokens());
  const auto panel_size = static_cast<size_t>(kTokens * kRows);
  std::vector<Packed> targets;
  for (size_t i = 0; i < packed.size(); ++i) {
    const Logits* logits = packed[i];
    check_shapes(*logits, windows);
    const std::vector<int32_t>* ids = kept.empty() ? nullptr : kept[i];
    const int64_t fitting = ids ? static_cast<int64_t>(ids->size()) : reference.vocab();
    if (logits->vocab() != fitting)
      fail(
          ErrorKind::bad_input, "the packed model has {} token ids, its reference {}", logits->vocab(),
          ids ? fmt::format("{} of which {} are kept", reference.vocab(), fitting) : std::to_string(reference.vocab()));
    targets.push_back({.logits = logits,
                       .kept = ids,
                       .state = std::vector<Distribution>(tokens),
                       .cross = std::vector<double>(tokens),
                       .panel = std::vector<float>(panel_size)});
    if (!ids) continue;
    Packed& p = targets.back();
    p.reference.resize(tokens);
    p.reference_panel.resize(panel_size);
    p.of_reference.assign(static_cast<size_t>(reference.vocab()), -1);
    for (size_t k = 0; k < ids->size(); ++k) p.of_reference[static_cast<size_t>((*ids)[k])] = static_cast<int32_t>(k);
  }
  const Elementwise& ops = elementwise();
  std::vector<Distribution> state(tokens);
  std::vector<float> panel(panel_size);
  walk(
      windows.tokens(), reference.vocab(), progress,
      [&](int64_t row_begin, int64_t row_end, int64_t begin, int64_t n) {
        reference.panel(begin, n, row_begin, row_end, panel.data(), kRows);
        for (Packed& p : targets) {
          p.begin = row_begin, p.end = row_end;
          if (p.kept) {  // increasing: those of a panel are neighbours
            const auto at = [&](int64_t id) { return std::lower_bound(p.kept->begin(), p.kept->end(), id); };
            p.begin = at(row_begin) - p.kept->begin(), p.end = at(row_end) - p.kept->begin();
          }
          if (p.begin < p.end) p.logits->panel(begin, n, p.begin, p.end, p.panel.data(), kRows);
        }
      },
      [&](int64_t token, int64_t row, int64_t rows, int64_t i) {
        const auto t = static_cast<size_t>(token);
        const int32_t next = next_id(windows, token);
        const float* a = panel.data() + i * kRows;
        const double factor = state[t].add(a, row, rows, next, ops);
        for (Packed& p : targets) {
          const float* b = p.panel.data() + i * kRows;
          if (p.kept) {
            const int64_t n = p.end - p.begin;
            if (n == 0) continue;
            float* gathered = p.reference_panel.data() + i * kRows;
            for (int64_t k = 0; k < n; ++k) gathered[k] = a[(*p.kept)[static_cast<size_t>(p.begin + k)] - row];
            const int32_t label = next < 0 ? -1 : p.of_reference[static_cast<size_t>(next)];
            const double rescale = p.reference[t].add(gathered, p.begin, n, label, ops);
            p.state[t].add(b, p.begin, n, label, ops);
            p.cross[t] = p.cross[t] * rescale + ops.sum_exp_difference(gathered, b, n, p.reference[t].max);
            continue;
          }
          p.state[t].add(b, row, rows, next, ops);
          p.cross[t] = p.cross[t] * factor + ops.sum_exp_difference(a, b, rows, state[t].max);
        }
      });

  std::vector<Comparison> results;
  for (const Packed& p : targets) {
    const std::vector<Distribution>& shared = p.kept ? p.reference : state;  // of the tokens that both have
    const auto reference_id = [&](int32_t id) { return p.kept ? (*p.kept)[static_cast<size_t>(id)] : id; };
    results.push_back(summarize(
        windows, at_scored(windows, [&](size_t t) { return shared[t].nll(); }),
        at_scored(windows, [&](size_t t) { return p.state[t].nll(); }),
        at_scored(windows,
                  [&](size_t t) { return p.cross[t] / shared[t].sum - (shared[t].log_sum() - p.state[t].log_sum()); }),
        at_scored(windows, [&](size_t t) { return state[t].argmax == reference_id(p.state[t].argmax) ? 1.0 : 0.0; })));
    if (!p.kept) continue;
    const std::vector<double> lost = at_scored(
        windows, [&](size_t t) { return std::max(0.0, -std::expm1(shared[t].log_sum() - state[t].log_sum())); });
    const Estimate mass = estimate(lost, windows.count);
    results.back().lost_mass = mass.mean;
    results.back().lost_mass_stderr = mass.error;
  }
  return results;
}

Difference paired_difference(const Comparison& a, const Comparison& b) {
  if (a.tokens != b.tokens || a.windows != b.windows || a.nll_reference_per_token.size() != b.nll_per_token.size())
    fail(ErrorKind::internal, "a paired difference of {} and {} tokens", a.tokens, b.tokens);
  const Estimate kl = estimate(difference(a.kl_per_token, b.kl_per_token), a.windows);
  const Estimate nll = estimate(difference(a.nll_per_token, b.nll_per_token), a.windows);
  const Estimate top1 = estimate(difference(a.same_top1, b.same_top1), a.windows);
  return {.kl = kl.mean,
          .kl_stderr = kl.error,
          .nll = nll.mean,
          .nll_stderr = nll.error,
          .top1 = top1.mean,
          .top1_stderr = top1.error};
}

}  // namespace kerf
