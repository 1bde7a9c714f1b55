// What runtimes of GPTQ and AWQ files have in common: the model around the packed weights is in half precision.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <span>

#include "core/dtype.h"
#include "kernels/arithmetic.h"

namespace kerf {

/// Those that such models have.
std::span<const Dtype> half_types();
/// The type that a model of this dtype is stored and computed in: F32 becomes F16, F16 and BF16 stay.
Dtype half_type(Dtype model);
/// Of PyTorch in that type.
Arithmetic half_arithmetic(Dtype model);
/// Makes config.json name that type.
void set_half_type(nlohmann::ordered_json& config);

}  // namespace kerf
