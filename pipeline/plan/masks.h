// Which matrices of a plan get zeros, and whether what stores them can hold zeros: said before anything is read.
#pragma once

#include <span>

#include "pipeline/plan/plan.h"
#include "prune/method.h"

namespace kerf {

/// Gives each matrix of a block the sparsity of the last override that names one for it, else `of_all` (nothing where
/// nobody asked), and says in the plan's remarks what it is worth to the target. Embedding, head and norms are never
/// pruned. Error unsupported when a pattern does not divide a matrix's rows, or when its scheme has no number 0, with
/// the schemes that have; usage when an override of sparsity concerns no matrix of a block.
void plan_masks(TargetPlan&, const Architecture&, const std::optional<Sparsity>& of_all, const PruneMethod&,
                std::span<const SiteOverride>);

/// Whether any override asks for zeros.
bool asks_for_masks(std::span<const SiteOverride>);

}  // namespace kerf
