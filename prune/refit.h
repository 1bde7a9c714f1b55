// The weights that stay, solved anew: what they should be once it is known which others are zero.
#pragma once

#include <span>

#include "prune/pruner.h"

namespace kerf {

/// For each row w of W and its support S (the weights that p.mask leaves), v zero outside of S that makes
///   (w - v) (H + damping I) (w - v)T
/// least: the free entries of (w - v)(H + damping I) vanish. `relative` damping, of the mean of H's diagonal. Solved by
/// conjugate gradients on all rows of a panel together, as ALPS does (Meng et al., 2024, arXiv 2406.07831), from
/// p.values on, which the result takes the place of in every row where it is better. The result does not depend on the
/// number of threads. W [rows, h.n].
void refit(const Hessian& h, double relative, std::span<const float> w, int64_t rows, PrunedMatrix& p);

}  // namespace kerf
