// Outliers are told by the median of the same role: one bad block does not hide the next.
#include "pipeline/calibrate/outcome_notes.h"

#include <algorithm>
#include <set>

#include "core/log.h"

namespace kerf {
namespace {

// An error this many times the median of the same role in earlier blocks is said to be out of line; from so many blocks
// on, unless it is next to nothing.
constexpr double kOutOfLine = 10, kNextToNothing = 1e-6;
constexpr size_t kBlocksToCompare = 3;

std::string percent(double x) { return fmt::format("{:.3g} %", 100 * x); }

const std::string& role_of(const SiteOutcome& o, const PlannedMatrices& planned) {
  return planned.at(o.name)->site.role;
}

}  // namespace

void note_outcomes(const std::string& run, const std::string& where, std::span<const SiteOutcome> outcomes,
                   const PlannedMatrices& planned) {
  std::string line = fmt::format("{} {}:", run, where);
  double damping = 0;
  for (const SiteOutcome& o : outcomes) {
    line += fmt::format(" {} {} → {} ({});", role_of(o, planned), percent(o.error_rtn), percent(o.error), o.method);
    damping = std::max(damping, o.damping);
  }
  detail(fmt::format("{} damping {:.3g}", line, damping));
}

void warn_of_outliers(std::span<const SiteOutcome> outcomes, std::span<const SiteOutcome> earlier,
                      const PlannedMatrices& planned) {
  for (const SiteOutcome& o : outcomes) {
    std::vector<double> errors;
    for (const SiteOutcome& other : earlier)
      if (role_of(other, planned) == role_of(o, planned)) errors.push_back(other.error);
    if (errors.size() < kBlocksToCompare) continue;
    std::sort(errors.begin(), errors.end());
    const double median = errors[errors.size() / 2];
    if (o.error > std::max(kOutOfLine * median, kNextToNothing))
      warn(fmt::format("{}: the relative error {} is out of line; the same matrix of earlier blocks has {}", o.name,
                       percent(o.error), percent(median)));
  }
}

void warn_of_few_tokens(const Architecture& a, int64_t tokens, double damping) {
  std::set<int64_t> widths;
  for (const Site& s : a.block_sites(0))
    if (tokens < s.in && widths.insert(s.in).second)
      warn(
          fmt::format("{} calibration tokens are fewer than the {} input channels of {} and its like: their second "
                      "moments have at most the rank {}, and least squares rest on the ridge that damping adds, {:.3g} "
                      "of their mean; give more windows",
                      tokens, s.in, s.name, tokens, damping));
}

void warn_of_damping(const Site& site, double asked, double relative) {
  if (relative > asked * 1.001)
    warn(fmt::format("{}: the damping had to be raised to {:.3g} of the Hessian's mean before it could be factorized",
                     site.name, relative));
}

}  // namespace kerf
