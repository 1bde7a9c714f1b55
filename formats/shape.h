// Shapes that came from a file.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/checked.h"

namespace kerf {

/// Number of elements of a shape. Error bad_input on a negative dimension, and when the product of the dimensions other
/// than zero overflows: then the product of any of them, in any order, is safe to compute.
inline int64_t elements_of_stored_shape(std::span<const int64_t> shape, std::string_view what) {
  bool empty = false;
  int64_t n = 1;
  for (int64_t d : shape) {
    if (d < 0) fail(ErrorKind::bad_input, "{} has the negative dimension {}", what, d);
    if (d == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(n, d, &n)) {
      fail(ErrorKind::bad_input, "{} has a shape whose product overflows 63 bits", what);
    }
  }
  return empty ? 0 : n;
}

}  // namespace kerf
