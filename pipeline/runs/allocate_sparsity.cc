// The shares are a budget of weights that stay (pipeline/plan/budget.h).
#include "pipeline/runs/allocate_sparsity.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "pipeline/calibrate/full_precision.h"
#include "pipeline/calibrate/importance.h"
#include "pipeline/calibrate/sensitivity.h"
#include "pipeline/plan/budget.h"
#include "prune/smallest.h"

namespace kerf {
namespace {

constexpr int64_t kMeasuredTokens = 2048;
// Shares a matrix may have: so many steps around the one asked for.
constexpr int kSteps = 6;
constexpr double kStep = 0.05, kLeast = 0.05, kMost = 0.95;

struct PrunableMatrix {
  Site site;
  std::vector<float> importance;  // mean squares of the inputs

  std::vector<float> pruned(const std::vector<float>& w, double share) const {
    std::vector<float> scores(w.size());
    for (size_t i = 0; i < w.size(); ++i) scores[i] = std::abs(w[i]) * std::sqrt(importance[i % importance.size()]);
    return without_masked(w, mask_of_smallest(scores, site.out, site.in, {.share = share}, true));
  }
  double error(const std::vector<float>& w, const std::vector<float>& values) const {
    double error = 0, all = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double m = static_cast<double>(importance[i % importance.size()]), x = static_cast<double>(w[i]);
      error += m * (x - static_cast<double>(values[i])) * (x - static_cast<double>(values[i]));
      all += m * x * x;
    }
    return all > 0 ? error / all : 0;
  }
};

std::vector<double> shares_around(double share) {
  std::vector<double> shares;
  for (int i = -kSteps; i <= kSteps; ++i)
    if (const double s = share + i * kStep; i == 0 || (s >= kLeast && s <= kMost)) shares.push_back(s);
  return shares;
}

bool has_its_own(const Site& site, std::span<const SiteOverride> given) {
  return std::any_of(given.begin(), given.end(),
                     [&](const SiteOverride& o) { return !o.sparsity.empty() && concerns(o, site.name, site.role); });
}

// Whose shares are chosen, by layer.
std::vector<Site> sites_of(const Architecture& a, std::span<const SiteOverride> given) {
  std::vector<Site> sites;
  for (int64_t layer = 0; layer < a.layers(); ++layer)
    for (const Site& site : a.block_sites(layer))
      if (!has_its_own(site, given)) sites.push_back(site);
  return sites;
}

Windows measured_windows(const Windows& all) { return first_windows(all, windows_of_tokens(all, kMeasuredTokens)); }

}  // namespace

std::vector<SiteOverride> allocate_sparsity(const Artifact& a, const Sparsity& of_all,
                                            std::span<const SiteOverride> given, const Windows& all_windows) {
  if (of_all.of > 0)
    fail(ErrorKind::usage,
         "the pattern {} leaves every matrix the same share of zeros; shares by sensitivity need sparsity=SHARE",
         text_of(of_all));
  const Windows windows = measured_windows(all_windows);
  SiteStatistics inputs = statistics_of(a.architecture, measure_imatrix(a, windows), "the calibration text");
  std::vector<PrunableMatrix> matrices;
  for (const Site& site : sites_of(a.architecture, given))
    matrices.push_back({site, std::move(inputs.at(site.name).importance)});
  note(
      fmt::format("measuring what zeros cost in each of {} matrices, on {} tokens", matrices.size(), windows.tokens()));
  std::vector<Probe> probes;
  for (const PrunableMatrix& m : matrices)
    probes.push_back({m.site, [&m, &a, &of_all] { return m.pruned(read_matrix(*a.weights, m.site), of_all.share); }});
  const std::vector<double> kl = probe_kl(a.architecture, *a.weights, probes, windows);
  const std::vector<double> shares = shares_around(of_all.share);
  std::vector<BudgetItem> items(matrices.size());
  uint64_t stay = 0;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const PrunableMatrix& m = matrices[i];
    const std::vector<float> w = read_matrix(*a.weights, m.site);
    const double probe = m.error(w, m.pruned(w, of_all.share));
    const auto kept = [&](double share) {
      return static_cast<uint64_t>(m.site.out * (m.site.in - zeros_among({.share = share}, m.site.in)));
    };
    stay += kept(of_all.share);
    items[i].resize(shares.size());
    parallel_for(static_cast<int64_t>(shares.size()), [&](int64_t s) {
      const double share = shares[static_cast<size_t>(s)];
      const double error = m.error(w, m.pruned(w, share));
      items[i][static_cast<size_t>(s)] = {kept(share), probe > 0 ? kl[i] / probe * error : 0};
    });
  }
  const auto best = Budget(items).best(stay);
  if (!best) fail(ErrorKind::internal, "no shares leave {} weights", stay);
  std::vector<SiteOverride> overrides;
  for (size_t i = 0; i < matrices.size(); ++i)
    overrides.push_back(
        {.sites = {matrices[i].site.name},
         .sparsity = text_of({.share = std::round(shares[best->options[i]] * 1e4) / 1e4, .by_row = of_all.by_row})});
  return overrides;
}

double allocation_products(const Artifact& a, std::span<const SiteOverride> given, const Windows& all) {
  double blocks = 0;  // once for the mean squares of the inputs
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& s : a.architecture.block_sites(layer))
      blocks += static_cast<double>(s.out) * static_cast<double>(s.in);
  const double probes = probe_work(a.architecture, sites_of(a.architecture, given)).products;
  return 2 * static_cast<double>(measured_windows(all).tokens()) * (blocks + probes);
}

}  // namespace kerf
