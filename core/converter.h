// The passes over every weight that is read or written, compiled once per instruction set from one text
// (converter_body.h): the same bits on every machine.
#pragma once

#include <stdint.h>

#include <span>

#include "core/cpu.h"

namespace kerf {

/// n numbers each; the 16-bit side may be unaligned. The definitions are f16_to_f32 and its like in core/dtype.h.
struct Converter {
  Isa isa;
  void (*bf16_to_f32)(const void* from, float* to, int64_t n);
  void (*f16_to_f32)(const void* from, float* to, int64_t n);
  void (*f32_to_bf16)(const float* from, void* to, int64_t n);
  void (*f32_to_f16)(const float* from, void* to, int64_t n);
  /// Of no numbers 0. Not finite where one of them is NaN or infinite.
  float (*largest_magnitude)(const float* x, int64_t n);
};

std::span<const Converter* const> all_converters();
/// The one for isa().
const Converter& converter();

}  // namespace kerf
