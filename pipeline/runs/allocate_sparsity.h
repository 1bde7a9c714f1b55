// A share of zeros for the whole model, allocated to the matrices of the blocks by what zeros cost in each.
#pragma once

#include <span>
#include <vector>

#include "model/text/windows.h"
#include "pipeline/plan/recipe.h"
#include "prune/sparsity.h"
#include "verify/artifact.h"

namespace kerf {

/// Overrides that give each matrix a share of its own, with as many zeros in all as `of_all`, a share, asks for. The
/// predicted loss that they make least is a sum over matrices of
///   KL(model || model with this matrix pruned to `of_all`) / error(of_all) * error(share)
/// with the first factor measured on the windows (at most some 2,000 tokens of them), by Wanda, and errors relative and
/// squared, weighted by the mean squares of the inputs. Matrices whose sparsity `given` overrides name keep that. Error
/// usage for a pattern, which leaves no choice.
std::vector<SiteOverride> allocate_sparsity(const Artifact&, const Sparsity& of_all,
                                            std::span<const SiteOverride> given, const Windows&);

/// Floating-point operations of the products that allocate_sparsity() takes, in float32.
double allocation_products(const Artifact&, std::span<const SiteOverride> given, const Windows&);

}  // namespace kerf
