// Every quantizer of the methods is tried on every site, without scales and with the best of activation-aware scaling,
// and each result is measured by the Hessian of the validation tokens.
#include "pipeline/calibrate/site_group.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "grids/grid.h"
#include "pipeline/calibrate/site_pruning.h"
#include "quant/awq.h"

namespace kerf {
namespace {

// Everything that the attempts at one group share.
struct Trial {
  std::span<const GroupSite> sites;
  const Hessian& validation;  // of the tokens that errors are measured on
  const QuantizerOptions& options;
  const std::optional<ActivationSample>& rounded;
  std::vector<double> signals = {};
  std::vector<std::optional<PrunedMatrix>> pruned =
      {};                                // for the statistics of the present attempt, of inputs as they are
  std::vector<ChosenSite> nearest = {};  // without scales: what every method is compared with

  // One attempt, with the weights' columns multiplied by these scales (none when empty). Statistics are of the inputs
  // so scaled.
  ChosenGroup attempt(const InputStatistics& statistics, std::vector<float> scales) const {
    ChosenGroup group{.scales = std::move(scales)};
    group.sites.resize(sites.size());
    const std::vector<double> noise = noise_under(group.scales);
    for (size_t i = 0; i < sites.size(); ++i)
      if (!sites[i].scheme && pruned[i]) {
        group.sites[i].values = stored(i, pruned[i]->values, group.scales);
        group.sites[i].error = relative_error(i, group.sites[i].values);
      }
    const auto wanted = [&](size_t i, const Quantizer* q) { return sites[i].scheme && uses(*sites[i].method, q); };
    for_quantizers(statistics, wanted, [&](const Quantizer& quantizer, const PreparedQuantizer& prepared, size_t i) {
      if (quantizer.needs_hessian()) group.damping = prepared.damping();
      const bool known = &quantizer == nearest[i].quantizer && group.scales.empty() && !pruned[i];
      keep_better(group.sites[i],
                  known ? nearest[i] : measured(quantizer, prepared, i, group.scales, noise, pruned[i]));
    });
    return group;
  }

  // Site i by rtn, without scales, with zeros by magnitude; nothing where it stays as it is.
  ChosenSite rounded_to_nearest(size_t i, const InputStatistics& statistics, std::span<const double> noise) const {
    const std::optional<PrunedMatrix> plain = prune_by_magnitude(sites[i]);
    if (!sites[i].scheme) {
      ChosenSite chosen;
      if (plain) chosen.error = relative_error(i, stored(i, plain->values, {}));
      return chosen;
    }
    const Quantizer& rtn = find_quantizer("rtn");
    return measured(rtn, *rtn.prepare(&statistics, *sites[i].scheme, options), i, {}, noise, plain);
  }

  // Of the outputs, when these values stand for the site's weights.
  double relative_error(size_t i, std::span<const float> values) const {
    std::vector<float> e(values.size());
    std::transform(sites[i].w.begin(), sites[i].w.end(), values.begin(), e.begin(), std::minus<>());
    return squares(i, e) / signals[i];
  }

  // Of the outputs of these values, as the site counts them.
  double squares(size_t i, std::span<const float> values) const {
    const GroupSite& s = sites[i];
    if (!s.outputs) return squared_outputs(validation, values, s.site->out);
    return squared_outputs(validation, s.outputs->weighted(values, s.site->in), s.site->out);
  }
  double squares_of_noise(size_t i, std::span<const double> noise, std::span<const float> values) const {
    const GroupSite& s = sites[i];
    if (noise.empty() || !s.outputs) return noise_error(noise, values);
    return noise_error(noise, s.outputs->weighted(values, s.site->in));
  }

  // Plain numbers as they will be stored: rounded once the scales are in them.
  std::vector<float> stored(size_t i, std::vector<float> values, const std::vector<float>& scales) const {
    if (!scales.empty()) values = scale_columns(values, scales);
    round_to(sites[i].dense, values);
    if (!scales.empty()) unscale_columns(values, scales);
    return values;
  }

  // The same choices again, for these statistics of inputs as they are. Errors stay those by which they were chosen.
  void choose_again(ChosenGroup& group, InputStatistics statistics) {
    pruned = prune_sites(sites, statistics.fitted, nullptr, options.damping);
    for (size_t i = 0; i < sites.size(); ++i)
      if (!sites[i].scheme && pruned[i]) group.sites[i].values = stored(i, pruned[i]->values, group.scales);
    if (!group.scales.empty()) statistics.fitted = scaled(statistics.fitted, group.scales);
    const auto wanted = [&](size_t i, const Quantizer* q) { return group.sites[i].quantizer == q; };
    for_quantizers(statistics, wanted, [&](const Quantizer& quantizer, const PreparedQuantizer& prepared, size_t i) {
      ChosenSite& chosen = group.sites[i];
      const double error = chosen.error;
      chosen = quantized(quantizer, prepared, i, group.scales, pruned[i]);
      chosen.error = error;
      if (!group.scales.empty()) unscale_columns(chosen.values, group.scales);
    });
  }

  // f(quantizer, prepared, i) for the sites that want it; prepared once for all of one scheme that follow each other.
  template <class Wanted, class F>
  void for_quantizers(const InputStatistics& statistics, Wanted&& wanted, F&& f) const {
    for (const Quantizer* quantizer : all_quantizers()) {
      std::unique_ptr<PreparedQuantizer> prepared;
      const Scheme* scheme = nullptr;
      for (size_t i = 0; i < sites.size(); ++i) {
        if (!wanted(i, quantizer)) continue;
        if (!prepared || *scheme != *sites[i].scheme) {
          scheme = sites[i].scheme;
          prepared.reset();  // so that two factors are never there at a time
          prepared = quantizer->prepare(&statistics, *scheme, options);
        }
        f(*quantizer, *prepared, i);
      }
    }
  }

  // With its error on the validation tokens.
  ChosenSite measured(const Quantizer& quantizer, const PreparedQuantizer& prepared, size_t i,
                      const std::vector<float>& scales, std::span<const double> noise,
                      const std::optional<PrunedMatrix>& zeros) const {
    ChosenSite chosen = quantized(quantizer, prepared, i, scales, zeros);
    const double of_activations = squares_of_noise(i, noise, chosen.values) / signals[i];
    if (!scales.empty()) unscale_columns(chosen.values, scales);
    chosen.error = relative_error(i, chosen.values) + of_activations;
    return chosen;
  }

  // Without an error; values are of the scaled weights.
  ChosenSite quantized(const Quantizer& quantizer, const PreparedQuantizer& prepared, size_t i,
                       const std::vector<float>& scales, const std::optional<PrunedMatrix>& zeros) const {
    const GroupSite& s = sites[i];
    ChosenSite chosen{.quantizer = &quantizer};
    const std::vector<float>& w = zeros && from_pruned(s, quantizer) ? zeros->values : s.w;
    const std::vector<float> scaled_w = scales.empty() ? std::vector<float>() : scale_columns(w, scales);
    chosen.matrix = prepared.quantize(scales.empty() ? w : scaled_w, s.site->out, s.site->in,
                                      zeros ? &zeros->mask : nullptr, s.outputs);
    chosen.values.resize(s.w.size());
    find_grid(s.scheme->grid).decode(chosen.matrix, chosen.values);
    return chosen;
  }

  // Whether codes of a pruned site are chosen for the pruner's values and not for W. Rounding to nearest makes up for
  // nothing, so what it is given must. Error feedback makes up for zeros itself, from W on. Refitted values v are where
  // it should begin: as (W - v) H vanishes on the support, the error of codes beside v is that beside W but for a
  // constant, and nothing of the zeros is left to columns that are chosen late.
  static bool from_pruned(const GroupSite& s, const Quantizer& q) { return s.pruning->refit || !q.needs_hessian(); }

  // Of rounded activations, for as many tokens as there are for validation.
  std::vector<double> noise_under(std::span<const float> scales) const {
    if (!rounded) return {};
    std::vector<double> noise = rounding_noise(*rounded, scales);
    const double part =
        static_cast<double>(validation.tokens) / (rounded->tokens_per_row * static_cast<double>(rounded->rows));
    for (double& x : noise) x *= part;
    return noise;
  }

  static bool uses(const Method& m, const Quantizer* q) {
    return std::find(m.quantizers.begin(), m.quantizers.end(), q) != m.quantizers.end();
  }

  static void keep_better(ChosenSite& best, ChosenSite other) {
    if (!best.quantizer || other.error < best.error) best = std::move(other);
  }
};

double total_error(const ChosenGroup& g) {
  double error = 0;
  for (const ChosenSite& s : g.sites) error += s.error;
  return error;
}

// Scales whose fold is exact: those of a norm are what the norm, rounded to its stored type, is smaller by.
std::vector<float> foldable(const Folding& f, std::vector<float> scales) {
  if (f.norm.empty()) return scales;
  const std::vector<float> folded = folded_norm(f, scales);
  for (size_t c = 0; c < scales.size(); ++c)
    scales[c] = folded[c] == 0.0f || f.norm[c] == 0.0f ? 1.0f : f.norm[c] / folded[c];
  return scales;
}

}  // namespace

std::vector<float> folded_norm(const Folding& f, std::span<const float> scales) {
  std::vector<float> norm(f.norm.size());
  for (size_t c = 0; c < norm.size(); ++c) norm[c] = f.as_stored(f.norm[c] / scales[c]);
  return norm;
}

void settle_weights(std::vector<GroupSite>& sites, InputStatistics& s, const Method& of_run) {
  if (s.asymmetric) {
    const Factor factor = factorize(s.fitted, kCorrectionDamping);
    for (GroupSite& site : sites)
      if (site.changes())
        site.asymmetric_strength =
            shift_towards_full_precision(site.w, s.asymmetric->fitted, factor, s.asymmetric->validation, *s.validation);
    s.asymmetric.reset();
  }
  if (!of_run.held_out) s.pool();
}

ChosenGroup choose_group(std::span<const GroupSite> sites, const InputStatistics& statistics,
                         const QuantizerOptions& options, const std::optional<Folding>& folding) {
  Trial trial{sites, statistics.validation ? *statistics.validation : statistics.fitted, options, statistics.sample};
  const std::vector<double> noise = trial.noise_under({});
  trial.pruned =
      prune_sites(sites, statistics.fitted, statistics.validation ? &*statistics.validation : nullptr, options.damping);
  bool may_scale = folding.has_value(), may_leave = false;
  std::vector<ScaledSite> to_scale;
  for (const GroupSite& s : sites) {
    trial.signals.push_back(std::max(trial.squares(trial.signals.size(), s.w), 1e-30));
    trial.nearest.push_back(trial.rounded_to_nearest(trial.nearest.size(), statistics, noise));
    may_scale = may_scale && s.method->scaled;
    may_leave = may_leave || s.method->plain;
    if (s.scheme) to_scale.push_back({s.w, s.site->out, *s.scheme});
  }
  std::optional<ScaleChoice> scaling;
  if (may_scale && !to_scale.empty()) {
    scaling = awq_scales(to_scale, statistics.fitted, folding->fold.source, folding->norm.empty(),
                         statistics.sample ? &*statistics.sample : nullptr);
    if (scaling->alpha == 0) scaling.reset();
  }
  std::optional<ChosenGroup> best;
  if (may_leave || !scaling) best = trial.attempt(statistics, {});
  if (scaling) {
    std::vector<float> scales = foldable(*folding, std::move(scaling->scales));
    const InputStatistics scaled_statistics{.fitted = scaled(statistics.fitted, scales)};
    ChosenGroup other = trial.attempt(scaled_statistics, std::move(scales));
    other.alpha = scaling->alpha;
    other.smooth = scaling->smooth;
    if (!best || total_error(other) < total_error(*best)) best = std::move(other);
  }
  if (statistics.validation) trial.choose_again(*best, {.fitted = statistics.pooled()});
  for (size_t i = 0; i < sites.size(); ++i) {
    best->sites[i].error_rtn = trial.nearest[i].error;
    best->sites[i].signal = trial.signals[i];
  }
  return std::move(*best);
}

}  // namespace kerf
