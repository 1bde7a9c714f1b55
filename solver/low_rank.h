// What a narrow product can give back of what a matrix has lost.
#pragma once

#include <cstdint>
#include <span>

#include "core/low_rank.h"
#include "solver/hessian.h"

namespace kerf {

/// The B A of this rank that makes sum over tokens of |(E - B A) x|^2 small, for E [rows, h.n]. With U the first
/// eigenvectors of E H ET that product is U UT E (Eckart-Young of E H^1/2; EoRA, arXiv 2410.21271), so H needs no
/// inverse. U comes from subspace iteration, which where eigenvalues lie close together takes neighbours that are worth
/// almost as much. Column k of B and row k of A have the same length; all zeros where E H is. One thread; results
/// follow from the arguments alone. REQUIRES: 1 <= rank <= both sides of E.
LowRank low_rank_of(std::span<const float> error, const Hessian&, int64_t rank);

}  // namespace kerf
