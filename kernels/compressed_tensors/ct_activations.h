// What every kernel of the compressed-tensors formats agrees on, whatever its instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kerf {

struct PackedMatrix;

/// 4 bytes per activation: a row is float32 values, each rounded to the compute dtype. Error unsupported when bits,
/// group, scale or compute dtype are outside the format.
int64_t ct_activation_bytes(const PackedMatrix&);
void ct_activation_values(const PackedMatrix&, const std::byte* row, float* out);

}  // namespace kerf
