// What calibration knows of the inputs x that some matrices share, as a value: sums over tokens, which parts of a text
// (several processes, or ranks) can make on their own and add up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "quant/activation_rounding.h"
#include "solver/asymmetric.h"
#include "solver/hessian.h"

namespace kerf {

/// Everything is optional but for what a step asks for: nobody pays for sums that nothing reads.
struct InputStatistics {
  /// Of the tokens that codes are fitted to; empty (n = 0) where only `importance` is known.
  Hessian fitted{0};
  /// Of the tokens that are kept out of `fitted` so that errors are measured on others; nothing where errors are
  /// measured on the fitted tokens themselves.
  std::optional<Hessian> validation = std::nullopt;
  /// Of asymmetric calibration: what the inputs lack against those of the model in full precision. Fitted and
  /// validation tokens are those of the Hessians.
  struct Asymmetric {
    AsymmetricMoments fitted, validation;
    void merge(const Asymmetric& next);
  };
  std::optional<Asymmetric> asymmetric = std::nullopt;
  /// Some of the fitted tokens, where the runtime rounds activations.
  std::optional<ActivationSample> sample = std::nullopt;
  /// Sum of x over all tokens, [n]; empty where no bias is corrected by the mean.
  std::vector<double> sums = {};
  /// The mean square of each input, [n], where nothing else is known (an importance matrix, or norms).
  std::vector<float> importance = {};
  int64_t tokens = 0;  // fitted and for validation; 0 for importance that was not measured

  /// Adds what the next part of the text gave. Order: parts hold consecutive tokens, and the first absorbs the others
  /// one after the other, ((p0 + p1) + p2) + ..., part r being rank r's. The result depends on where the text was cut
  /// and on nothing else. Beside the sums of one process over the whole text,
  /// - each entry of a moment sums the same products in another order. Where every part is a multiple of 1,024 tokens,
  ///   the batch of Hessian::add(), only the sums of batches are grouped otherwise: |difference| <= 2 B 2^-24 s, B the
  ///   number of batches and s the sum of the absolute values (for a Hessian at most sqrt(H_ii H_jj));
  /// - `sums` differ by as many roundings of doubles, `importance` by one of float32;
  /// - the sample holds the rows of all parts, which all must stand for as many tokens each to be weighed exactly.
  /// What one side lacks is taken from the other. Error internal when widths or groups of channels differ, or when
  /// importance that was not measured is to be added; numerical when a sum overflows.
  void merge(const InputStatistics& next);

  /// The Hessian of all tokens: fitted + validation.
  Hessian pooled() const;
  /// Makes the validation tokens fitted ones.
  void pool();
};

/// What is known of the inputs of matrices, by their names in the checkpoint.
using SiteStatistics = std::unordered_map<std::string, InputStatistics>;

}  // namespace kerf
