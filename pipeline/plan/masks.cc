#include "pipeline/plan/masks.h"

#include <algorithm>

#include "core/error.h"
#include "grids/grid.h"
#include "pipeline/plan/site_pattern.h"

namespace kerf {
namespace {

bool holds_zeros(const Storage& s) { return !s.layout || has_zero(s.scheme); }

// Whether every matrix of the blocks could be pruned under this scheme.
bool holds_zeros(const Target& target, const std::string& scheme, const Architecture& a) {
  try {
    const std::string canonical = target.canonical(scheme);
    for (int64_t layer = 0; layer < a.layers(); ++layer)
      for (const Site& site : a.block_sites(layer)) {
        const int64_t widths[] = {site.in};
        if (!holds_zeros(target.storage(target.fitted(canonical, widths), shape_of(a, site), a.dtype))) return false;
      }
    return true;
  } catch (const Error&) {  // a pattern of names, such as wNa16-..., or a shape that it cannot store
    return false;
  }
}

// "vllm (w4a16, fp8)": the schemes of a target that can hold zeros.
std::string schemes_with_zeros(const Target& target, const Architecture& a) {
  std::vector<std::string> names;
  for (const SchemeHelp& help : target.schemes()) {
    std::string name(help.name.substr(0, help.name.find("-gN")));
    if (holds_zeros(target, name, a)) names.push_back(std::move(name));
  }
  return names.empty() ? "" : fmt::format("{} ({})", target.name(), fmt::join(names, ", "));
}

std::string targets_with_zeros(const Target& first, const Architecture& a) {
  std::vector<std::string> all = {schemes_with_zeros(first, a)};
  for (const Target* target : all_targets())
    if (target != &first) all.push_back(schemes_with_zeros(*target, a));
  std::erase(all, "");
  return fmt::format("{}", fmt::join(all, ", "));
}

// What the matrix is to have: the last override that says so counts.
std::optional<Sparsity> sparsity_of(const PlannedMatrix& m, const std::optional<Sparsity>& of_all,
                                    std::span<const SiteOverride> overrides) {
  std::optional<Sparsity> s = of_all;
  for (const SiteOverride& o : overrides)
    if (!o.sparsity.empty() && concerns(o, m.site.name, m.site.role))
      s = o.sparsity == kNoSparsity ? std::nullopt : std::optional(parse_sparsity(o.sparsity));
  return s;
}

void check_overrides(const TargetPlan& plan, std::span<const SiteOverride> overrides) {
  for (const SiteOverride& o : overrides)
    if (!o.sparsity.empty() && std::none_of(plan.matrices.begin(), plan.matrices.end(), [&](const PlannedMatrix& m) {
          return m.site.layer >= 0 && concerns(o, m.site.name, m.site.role);
        }))
      fail(ErrorKind::usage, "the override of {} asks for a sparsity, and only matrices of the blocks are pruned",
           fmt::join(o.sites, ", "));
}

}  // namespace

void plan_masks(TargetPlan& plan, const Architecture& a, const std::optional<Sparsity>& of_all,
                const PruneMethod& method, std::span<const SiteOverride> overrides) {
  check_overrides(plan, overrides);
  std::vector<std::string> kinds;
  size_t pruned = 0;
  double zeros = 0, weights = 0;
  for (PlannedMatrix& m : plan.matrices) {
    if (m.site.layer < 0) continue;
    m.sparsity = sparsity_of(m, of_all, overrides);
    const double size = static_cast<double>(m.site.out) * static_cast<double>(m.site.in);
    weights += size;
    if (!m.sparsity) continue;
    try {
      check_pattern(*m.sparsity, m.site.in);
    } catch (const Error& e) {
      fail(e.kind(), "{}: {}", m.site.name, e.what());
    }
    if (!holds_zeros(m.storage))
      fail(ErrorKind::unsupported,
           "{} cannot be pruned: {} stores it as {}, which has no code that stands for exactly 0; choose among {}, or "
           "leave it out by an override with sparsity: {}",
           m.site.name, plan.choice.text(), describe(m.storage.scheme), targets_with_zeros(*plan.choice.target, a),
           kNoSparsity);
    ++pruned;
    zeros += m.sparsity->share * size;
    if (const std::string kind = text_of(*m.sparsity); std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      kinds.push_back(kind);
  }
  if (pruned == 0) return;
  std::string format;  // of the runtime's own
  for (const PlannedMatrix& m : plan.matrices)
    if (m.sparsity && format.empty()) format = plan.choice.target->remark_on_zeros(m.sparsity->zeros, m.sparsity->of);
  plan.remarks.push_back(fmt::format(
      "{} {}: {:.3g} % of the weights of the blocks are zero, in {} matrices. The zeros are stored like all other "
      "numbers: no file becomes smaller and {} no faster by them{}{}",
      method.name(), fmt::join(kinds, ", "), 100 * zeros / weights, pruned, plan.choice.target->name(),
      format.empty() ? "" : "; ", format));
}

bool asks_for_masks(std::span<const SiteOverride> overrides) {
  return std::any_of(overrides.begin(), overrides.end(),
                     [](const SiteOverride& o) { return !o.sparsity.empty() && o.sparsity != kNoSparsity; });
}

}  // namespace kerf
