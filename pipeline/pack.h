// Executes plans: every tensor of the checkpoint is read once, in panels of rows, and written for every target.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "formats/container.h"
#include "pipeline/plan.h"
#include "quant/quantizer.h"

namespace kerf {

struct PackJob {
  const TargetPlan* plan;
  Writer* writer;
};

/// Quantizes and writes; nothing is visible before each writer's commit(). Memory: a few panels of some hundred
/// thousand weights per thread, and the codes of the matrices in work where a layout packs whole matrices, and their
/// weights where rows share parameters. Errors: numerical for NaN or infinity in the weights (tensor and index named)
/// and for values that do not fit their stored type.
void pack(const Architecture&, const TensorSource&, const Quantizer&, std::span<const PackJob> jobs);

}  // namespace kerf
