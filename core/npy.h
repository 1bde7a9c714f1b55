// NumPy's .npy files (format 1.0) of float32, row-major.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace kerf {

/// Everything that comes before the values.
std::string npy_header(std::span<const int64_t> shape);

}  // namespace kerf
