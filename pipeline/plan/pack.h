// Executes plans: every tensor of the checkpoint is read once, in panels of rows, and written for every target.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "formats/container.h"
#include "pipeline/plan/plan.h"
#include "prune/pruner.h"
#include "quant/quantizer.h"

namespace kerf {

/// One target of a run: what is to be written, and where to. Both outlive the packing; the caller commits the writer.
struct PackJob {
  const TargetPlan* plan;  // storage of every matrix and the tensors of the file
  Writer* writer;          // made for plan->file; parts of a tensor may be written in any order and from any thread
  std::vector<std::string>* remarks = nullptr;  // takes what the weights give cause to say, beside the log
};

/// Quantizes and writes; nothing is visible before each writer's commit(). Memory: a few panels of some hundred
/// thousand weights per thread, and the codes of the matrices in work where a layout packs whole matrices, and their
/// weights where rows share parameters. Errors: numerical for NaN or infinity in the weights (tensor and index named)
/// and for values that do not fit their stored type. `input_statistics` is what the quantizer may know of the matrices'
/// inputs. Where a plan gives a matrix a sparsity, `pruner`, one that needs no Hessian, chooses its zeros for all
/// targets before it is quantized; memory then: one whole matrix in float32 and the masks of a block.
void pack(const Architecture&, const TensorSource&, const Quantizer&, std::span<const PackJob> jobs,
          const SiteStatistics& input_statistics = {}, const Pruner* pruner = nullptr);

// The parts of it, for a flow that chooses codes itself (calibrated.h):
/// The matrices outside of the blocks and those of the first `layers` blocks, less those that `apart` tells apart.
void pack_matrices(const Architecture&, const TensorSource&, const Quantizer&, std::span<const PackJob> jobs,
                   int64_t layers, const SiteStatistics& input_statistics = {},
                   const std::function<bool(const PlannedMatrix&)>& apart = {}, const Pruner* pruner = nullptr);
/// One whole matrix, rows in the checkpoint's order: packed, or as plain numbers.
void write_matrix(const PackJob&, const PlannedMatrix&, const QuantizedMatrix&);
void write_matrix(const PackJob&, const PlannedMatrix&, std::span<const float> w);
/// Rows of one from `row` on. Only where the layout packs rows on their own and none of them moves.
void write_rows(const PackJob&, const PlannedMatrix&, int64_t row, const QuantizedMatrix&);
/// Vectors that a transform has changed, by their checkpoint name.
using Replaced = std::map<std::string, std::vector<float>>;
void write_vectors(const TensorSource&, const PackJob&, const Replaced&);

/// Row r becomes row source_row[r] of what was given. Where rows move, their parameters are their own.
QuantizedMatrix reordered(const QuantizedMatrix&, std::span<const int64_t> source_row);

}  // namespace kerf
