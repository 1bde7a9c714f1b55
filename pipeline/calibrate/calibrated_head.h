// The matrix that makes logits, chosen by calibration like the matrices of the blocks, after the last of them.
#pragma once

#include "model/run/blockwise_forward.h"
#include "pipeline/calibrate/site_outcome.h"
#include "pipeline/plan/method.h"
#include "pipeline/plan/pack.h"

namespace kerf {

/// Whether `m` is the head and is stored in codes that rows have for themselves. Others are written as they are, or
/// rounded to nearest.
bool is_calibrated_head(const Architecture&, const PlannedMatrix& m);

/// How many of its rows are chosen at a time: no more weights than in the largest group of a block with such inputs.
int64_t head_rows_at_once(const Architecture&);

/// Chooses the codes of a head for the inputs of `g` (BlockwiseForward::head_group()) and writes them. The last
/// `validation_tokens`, when not 0, are kept out of the statistics, and errors are measured on them. A matrix that is
/// the embedding too gets a damping of at least 0.1: errors of an embedding count in all directions.
SiteOutcome write_head(const BlockwiseForward::Group& g, int64_t validation_tokens, const Architecture&,
                       const TensorSource&, const PackJob&, const PlannedMatrix&, const Method&, QuantizerOptions);

}  // namespace kerf
