// Which columns of a matrix can go when those that stay make up for them: the inputs of a matrix in groups (channels of
// an MLP, heads), removed by least loss (Hassibi and Stork, Optimal Brain Surgeon, 1993; in groups: Kurtic et al.,
// ZipLM, 2023).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "solver/hessian.h"

namespace kerf {

struct EliminationRequest {
  int64_t group = 1;  // neighbouring columns that go together
  int64_t keep = 0;   // groups that stay
  /// Of every `family` neighbouring groups the same number goes; 0: of all of them as many as it takes.
  int64_t family = 0;
  /// Whether columns that stay make up for those that go; without, a group costs what it gives alone.
  bool correct = true;
  double damping = 0.01;  // relative to the mean of the Hessian's diagonal
};

struct Elimination {
  std::vector<int64_t> kept;  // groups, rising
  /// Of each group: what removing it alone adds to the squared output error, as a share of the outputs' squares.
  std::vector<double> importance;
};

/// For the outputs W x, w [rows, H.n] row-major. With `correct` the squared error of removing a group G alone is
///   tr(W_G inverse([inverse(H + damping I)]_GG) W_GT),
/// and after each removal W and the inverse are those of what is left; in rounds of a 32nd of what is to go, or one
/// group. Without, it is tr(W_G H_GG W_GT). The result does not depend on the number of threads. Errors as factorize();
/// usage when `keep` or `family` do not fit the groups.
Elimination eliminate_columns(const Hessian&, std::span<const float> w, int64_t rows, const EliminationRequest&);

/// Those columns of m [rows, cols], [rows, ids.size()].
std::vector<float> columns_of(std::span<const float> m, int64_t rows, int64_t cols, std::span<const int64_t> ids);

/// The weights W' [rows, kept.size()] of the columns that stay with the least sum of |W x - W' x_kept|^2 + damping
/// |W_kept - W'|^2. Errors as factorize().
std::vector<float> refitted_columns(const Hessian&, std::span<const float> w, int64_t rows,
                                    std::span<const int64_t> kept, double damping);

}  // namespace kerf
