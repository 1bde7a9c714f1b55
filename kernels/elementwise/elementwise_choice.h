// The element-wise operations for the instruction set in use.
#pragma once

#include "core/dtype.h"
#include "core/error.h"
#include "kernels/elementwise/elementwise.h"

namespace kerf {

/// For isa(). All give the same bits.
const Elementwise& elementwise();
/// F32, F16 or BF16; Error internal for others.
Rounding rounding_of(Dtype);

}  // namespace kerf
