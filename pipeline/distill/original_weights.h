// What a packed matrix stands for.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "verify/artifact.h"

namespace kerf {

/// The matrices of a model in the scaling that its packed file has: activation-aware scaling (model/ops/folds.h) has
/// multiplied columns by what a norm was divided by, which its stored values say, or by what rows of an earlier matrix
/// were divided by, which are powers of two. Both artifacts must outlive it. Thread-safe.
class OriginalWeights {
 public:
  OriginalWeights(const Artifact& source, const Artifact& packed);
  /// [out, in]; empty where the source has no such matrix in the same shape.
  std::vector<float> values(const std::string& name) const;

 private:
  std::vector<float> column_scales(const Site&) const;  // empty: none
  std::vector<float> row_scales(const Site&, std::span<const float> scaled_columns) const;
  std::vector<float> with_scaled_columns(const Site&) const;

  const Artifact &source_, &packed_;
  std::map<std::string, Site> sites_;
  std::set<std::string> folded_into_;  // matrices whose rows take the scales of others' columns
};

}  // namespace kerf
