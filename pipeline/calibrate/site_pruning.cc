#include "pipeline/calibrate/site_pruning.h"

#include "prune/refit.h"

namespace kerf {
std::vector<std::optional<PrunedMatrix>> prune_sites(std::span<const GroupSite> sites, const Hessian& fitted,
                                                     const Hessian* validation, double damping) {
  std::vector<std::optional<PrunedMatrix>> pruned(sites.size());
  std::unique_ptr<PreparedPruner> prepared;  // once for all of one sparsity that follow each other
  const Sparsity* sparsity = nullptr;
  for (size_t i = 0; i < sites.size(); ++i) {
    const GroupSite& s = sites[i];
    if (!s.sparsity) continue;
    if (!prepared || *sparsity != *s.sparsity) {
      sparsity = s.sparsity;
      prepared.reset();  // so that two factors are never there at a time
      prepared = s.pruning->pruner->prepare(&fitted, *sparsity, damping);
    }
    pruned[i] = prepared->prune(s.w, s.site->out, s.site->in);
    if (!s.pruning->refit) continue;
    PrunedMatrix solved = *pruned[i];
    refit(fitted, damping, s.w, s.site->out, solved);
    if (!validation || squared_error(*validation, s.w, solved.values, s.site->out) <
                           squared_error(*validation, s.w, pruned[i]->values, s.site->out))
      pruned[i] = std::move(solved);
  }
  return pruned;
}

std::optional<PrunedMatrix> prune_by_magnitude(const GroupSite& s) {
  if (!s.sparsity) return std::nullopt;
  return find_pruner("magnitude").prepare(nullptr, *s.sparsity, 0)->prune(s.w, s.site->out, s.site->in);
}

}  // namespace kerf
