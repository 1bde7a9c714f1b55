// Error feedback between the rows of a matrix: what errors of a layer's outputs cost further on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "solver/factor.h"

namespace kerf {

/// Rows that are chosen at a time, as if they did not share any error. Fewer lose less, and leave less to do side by
/// side: with 4, 16 and 64 the loss that codes were chosen by rose from 1 to 1.05 and 1.13.
constexpr int64_t kRowsTogether = 16;

/// Errors E = W - Q of a matrix [rows, cols] change its outputs by E x, and a loss that is least without them by half
/// of
///   tr(G E H ET),  G = sum over tokens of g gT, g the gradient of the loss to the outputs, H as in hessian.h,
/// where g and x count as independent (Kronecker-factored curvature, Martens and Grosse, 2015; for rounding YAQA, Tseng
/// et al., 2025). With G + damping I = LT L that is the sum over k of e'_k H e'_kT, e'_k = sum over j <= k of L[k, j]
/// e_j: of rows chosen one after the other each is best chosen for
///   w_k + sum over j < k of e_j L[k, j] / L[k, k],
/// and within a row H alone counts.
class RowFeedback {
 public:
  /// `outputs` is G, its damping `relative` as in factorize(). Rows take turns in an order in which those that are
  /// chosen together share little; `as_stored`, from the first to the last. Errors as factorize().
  RowFeedback(const Hessian& outputs, double relative, bool as_stored = false);

  /// The row whose turn is k.
  std::span<const int64_t> order() const { return order_; }
  /// Adds to `target` [count, cols], the weights of the turns [begin, begin + count), what makes up for the errors e
  /// [rows, cols] of the turns before them. Both in the order of turns.
  void correct(int64_t begin, int64_t count, int64_t cols, std::span<const float> e, std::span<float> target) const;
  /// L E of E [rows, cols], whose rows are as they are stored: tr(G E H ET) is the sum of its hessian_norms().
  std::vector<float> weighted(std::span<const float> e, int64_t cols) const;

 private:
  std::vector<int64_t> order_;
  Factor factor_;
};

}  // namespace kerf
