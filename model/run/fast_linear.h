// Matrices and arithmetic for forward passes that need not be exact to the last bit, such as calibration.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/arithmetic.h"
#include "model/run/block.h"
#include "model/run/weights.h"

namespace kerf {

/// w [out, in] row-major. Where the CPU multiplies bf16 faster, weights and activations are rounded to it (sums are
/// float32); elsewhere products are float32.
std::unique_ptr<Linear> fast_linear(std::vector<float> w, int64_t out, int64_t in);

/// The same with float32 products everywhere.
std::unique_ptr<Linear> float_linear(std::vector<float> w, int64_t out, int64_t in);

/// load_ops() (block.h) with these matrices, of the source that the provider reads.
BlockWeights load_fast_ops(const Architecture&, WeightProvider&, const TensorSource&, const Ops&, int64_t layer);

/// The same for the rest: attention with operands in bf16 where that is faster, all else in float32.
Arithmetic fast_arithmetic();

}  // namespace kerf
