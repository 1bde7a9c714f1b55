// The inner step of every error-feedback quantizer, compiled once per instruction set from feedback_body.h.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace kerf {

/// Rows of a weight matrix that are quantized together, one vector lane each: columns of kRowsPerPanel floats lie one
/// after the other.
constexpr int64_t kRowsPerPanel = 64;

struct Feedback {
  Isa isa;
  /// t[k * kRowsPerPanel + r] -= sum over m < terms of u[m * u_stride + k] * e[m * kRowsPerPanel + r]   for k <
  /// columns, r < kRowsPerPanel, in the order of m. Pointers to columns are aligned to 64 bytes.
  void (*subtract)(float* t, int64_t columns, const float* e, int64_t terms, const float* u, int64_t u_stride);
};

std::span<const Feedback* const> all_feedbacks();
/// For isa().
const Feedback& feedback();

}  // namespace kerf
