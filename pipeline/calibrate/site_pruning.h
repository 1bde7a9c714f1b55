// Masks of the sites of a group, before their codes are chosen.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "pipeline/calibrate/site_group.h"
#include "prune/pruner.h"

namespace kerf {

/// What the pruner makes of each site's W for inputs with these second moments; nothing for sites without a sparsity.
/// With refit in the method the weights that stay are solved anew, and where that is no better by `validation`
/// (nullptr: it is by the fitted tokens) the pruner's stay. `damping` as QuantizerOptions has it.
std::vector<std::optional<PrunedMatrix>> prune_sites(std::span<const GroupSite>, const Hessian& fitted,
                                                     const Hessian* validation, double damping);

/// The same by magnitude alone: what every method is compared with.
std::optional<PrunedMatrix> prune_by_magnitude(const GroupSite&);

}  // namespace kerf
