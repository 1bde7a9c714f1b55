// Integer arithmetic on numbers that came from a file: every overflow is an Error, none is undefined.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace kerf {

template <std::integral T>
T checked_add(T a, T b, std::string_view what) {
  T r;
  if (__builtin_add_overflow(a, b, &r)) fail(ErrorKind::bad_input, "{}: {} + {} overflows", what, a, b);
  return r;
}

template <std::integral T>
T checked_mul(T a, T b, std::string_view what) {
  T r;
  if (__builtin_mul_overflow(a, b, &r)) fail(ErrorKind::bad_input, "{}: {} x {} overflows", what, a, b);
  return r;
}

/// The same number in another integer type; bad_input when it does not fit.
template <std::integral To, std::integral From>
To checked_cast(From v, std::string_view what) {
  if (!std::in_range<To>(v)) fail(ErrorKind::bad_input, "{}: {} is out of range", what, v);
  return static_cast<To>(v);
}

/// Product of the dimensions (1 for a scalar); bad_input on a negative dimension or overflow.
inline int64_t checked_elements(std::span<const int64_t> shape, std::string_view what) {
  int64_t n = 1;
  for (int64_t d : shape) {
    if (d < 0) fail(ErrorKind::bad_input, "{}: negative dimension {}", what, d);
    n = checked_mul(n, d, what);
  }
  return n;
}

/// ceil(a / b) for b > 0.
template <std::integral T>
constexpr T ceil_div(T a, T b) {
  return a / b + (a % b != 0);
}
template <std::integral T>
constexpr T round_up(T a, T b) {
  return ceil_div(a, b) * b;
}

}  // namespace kerf
