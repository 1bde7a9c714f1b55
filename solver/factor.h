// The triangular factor with which quantizers feed errors back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "solver/hessian.h"

namespace kerf {

/// L [n, n] lower triangular, row-major, with H + damping * I = LT L. For E = w - q,
///   e (H + damping I) eT = sum over k of (sum over j <= k of e_j L[k, j])^2:
/// term k knows columns up to k only, so choosing q column by column, each code is the nearest to
///   w_k + sum over j < k of e_j L[k, j] / L[k, k].
/// This is GPTQ (Frantar et al., 2022) without the inverse of H that its update rule is written with: the inverse's
/// upper Cholesky factor is the inverse of LT (and Babai's nearest plane, Chen et al., 2025).
struct Factor {
  int64_t n = 0;
  double damping = 0;  // what was added to the diagonal
  int attempts = 1;    // more than one when it had to be raised
  int64_t dead = 0;    // channels that were always zero
  std::vector<float> l;

  const float* row(int64_t k) const { return l.data() + k * n; }
};

/// What factorize() adds to the diagonal at first: `relative` times its mean (1e-6 at least; of all zeros: of 1).
double first_damping(const Hessian&, double relative);

/// Damping begins with `relative` times the mean of the diagonal and is raised tenfold until the factorization
/// succeeds; Error numerical when even the mean itself does not suffice. All zeros count as the identity. With `order`,
/// a permutation, row and column k of the factor are the Hessian's order[k].
Factor factorize(const Hessian&, double relative, std::span<const int64_t> order = {});

/// The inverse of the diagonal block [begin, begin + size) of L, transposed: U [size, size] upper triangular,
/// row-major, the GPTQ update of columns inside of the block. In double, rounded once.
std::vector<float> inverse_block(const Factor&, int64_t begin, int64_t size);

/// The same for a block of H alone: U upper triangular with UT U = inverse(H[block, block] + damping * I).
/// Error numerical when the block is not positive definite.
std::vector<float> inverse_block(const Hessian&, double damping, int64_t begin, int64_t size);

/// x (H + damping I) = b for each row of b [rows, f.n], which x takes the place of. Float32, by blocks.
void solve_rows(const Factor& f, std::span<float> b);

}  // namespace kerf
