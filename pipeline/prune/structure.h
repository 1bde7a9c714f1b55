// Channels and heads that go, chosen block by block while the model runs through what is left; what stays makes up for
// what goes.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/scratch.h"
#include "model/arch/correspondence.h"
#include "model/text/windows.h"
#include "pipeline/plan/pack.h"
#include "prune/shape.h"

namespace kerf {

/// What is cut from where. Everything that is referred to must outlive it.
struct StructureJob {
  const Architecture& architecture;  // of the original
  const TensorSource& source;
  const PrunedShape& shape;
  /// Layers and channels of the residual stream that stay, and tokens. The model runs with these from the start.
  Correspondence kept;
  /// Whether what stays is corrected: by least squares on the inputs, and towards the outputs of the original, which
  /// then runs beside (solver/asymmetric.h).
  bool correct = true;
  double damping = 0.01;
  const Windows& windows;     // in the original's ids
  int64_t validation_tokens;  // the last of them, by which the strength of the correction is measured
  Scratch& scratch;
};

/// What went from one axis of one layer.
struct CutAxis {
  std::string axis;
  int64_t layer = 0;               // of the original
  std::vector<int64_t> removed;    // groups of the cut
  std::vector<double> importance;  // of each of them: share of the outputs' squares that it alone costs
  double error = 0;                // relative squared output error of what is left
  double damping = 0;              // of the least squares, relative; 0: columns stay as they are
};

struct PrunedStructure {
  Correspondence kept;  // with the channels and heads of each layer
  std::vector<CutAxis> cuts;
  std::set<std::string> written;  // matrices, by their names in the smaller model
};

/// Chooses, and writes the matrices of all blocks to `out`, whose plan is of the smaller architecture, and a head of
/// its own where the stream is narrower and what stays is corrected; the rest is left to write. Without a writer (to
/// measure how long it takes) nothing is, and the plan may be empty. One pass; memory as of a calibrated run: one
/// block, one group's inputs of both models, their moments.
PrunedStructure prune_structure(const StructureJob&, const PackJob& out);

}  // namespace kerf
