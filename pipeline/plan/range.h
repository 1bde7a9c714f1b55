// Whether what is to be stored fits the types that hold it: scales beyond 65504 become infinite in F16, and so do
// weights that a runtime decodes to F16.
#pragma once

#include <span>
#include <string_view>

#include "core/tensor.h"
#include "grids/quantized_matrix.h"
#include "pipeline/plan/pack.h"
#include "pipeline/plan/plan.h"

namespace kerf {

/// The largest finite number of F16.
inline constexpr float kLargestF16 = 65504;

/// Error numerical, naming the tensor, for a number that is infinite in this type.
void check_range(Dtype, std::span<const float> values, std::string_view name);
/// The same of the parameters of a quantized matrix, and of its weights as the target's runtime decodes them.
void check_range(const PlannedMatrix&, const QuantizedMatrix&);
/// What rounding to nearest would be refused for, or holds NaN or infinity, in any matrix of the jobs: one pass over
/// the weights, for runs that come to store them late.
void check_ranges(const TensorSource&, std::span<const PackJob> jobs);

}  // namespace kerf
