// A block's matrices once they are chosen: they wait here until the block is complete, because scales of a later matrix
// may still be folded into the rows of an earlier one.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grids/quantized_matrix.h"
#include "model/run/weights.h"
#include "pipeline/calibrate/site_group.h"
#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/pack.h"

namespace kerf {

/// Matrices of a plan by their names in the checkpoint.
using PlannedMatrices = std::map<std::string, const PlannedMatrix*>;
PlannedMatrices by_name(const TargetPlan&);

/// A matrix that is ready to be written: packed, or plain numbers.
struct ReadyMatrix {
  const PlannedMatrix* planned = nullptr;
  std::optional<QuantizedMatrix> packed;
  std::vector<float> values = {};  // [out, in], when it is not packed
};

struct FinishedBlock {
  std::map<std::string, ReadyMatrix> matrices;  // by the checkpoint's name
  Replaced replaced;                            // vectors that folds and biases have changed, of all blocks so far
  std::vector<SiteOutcome> outcomes;            // of this block, in the order in which sites ran

  /// How the input channels of `site` can be scaled so that what produces them takes the scales back exactly: a norm
  /// (with its present values, to be stored as `norm_dtype`) or a matrix of this block whose parameters can be divided.
  /// Nothing where that is not so.
  std::optional<Folding> folding_of(const Architecture&, const Site& site, WeightProvider&, const TargetPlan&) const;
  /// Folds scales, powers of two where a matrix takes them: divides the norm, or the rows and the bias of the matrix.
  void fold(const Folding&, std::span<const float> scales, WeightProvider&);

  /// Writes the matrices.
  void write(const PackJob&) const;
  /// Forgets matrices and outcomes, before the next block.
  void clear();
};

}  // namespace kerf
