// A head's rows as llama.cpp's quantized cache stores them (ggml_flash.h), for the definition and each instruction set:
// `half` rounds to F16 as that file does it.
// (No standard library in here: files compiled for one instruction set must not emit templates that others share.)
#pragma once

#include "kernels/gguf/ggml_flash.h"

namespace kerf {
namespace {

/// Sizes of the rotations of keys (and queries) and of values; 0: none.
inline int64_t value_rotation(int64_t head_dim) { return head_dim % 64 == 0 ? 64 : 0; }
inline int64_t key_rotation(int64_t head_dim) {
  int64_t n = value_rotation(head_dim);
  while (n > 0 && head_dim % (2 * n) == 0) n *= 2;
  return n;
}

/// Each n elements of x [count].
inline void rotate_each(float* x, int64_t count, int64_t n) {
  if (n == 0) return;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(n));
  for (int64_t i = 0; i < count; ++i) x[i] *= scale;
  for (int64_t apart = 1; apart < n; apart *= 2)
    for (int64_t begin = 0; begin < count; begin += 2 * apart)
      for (int64_t i = begin; i < begin + apart; ++i) {
        const float u = x[i], v = x[i + apart];
        x[i] = u + v;
        x[i + apart] = u - v;
      }
}

/// One block: x becomes its codes; returns the scale. What is no number of the type comes out as x86 converts it.
template <class Half>
inline float store_q8_0(float* x, Half&& half) {
  float most = 0;
  for (int64_t i = 0; i < kGgmlBlock; ++i) most = __builtin_fabsf(x[i]) > most ? __builtin_fabsf(x[i]) : most;
  const float inverse = most != 0 ? 127.0F / most : 0.0F;
  for (int64_t i = 0; i < kGgmlBlock; ++i) {
    const float code = __builtin_rintf(x[i] * inverse);
    x[i] = __builtin_fabsf(code) <= 127 ? code : -128.0F;
  }
  return half(most / 127.0F);
}

template <class Half>
inline float store_q4_0(float* x, Half&& half) {
  float size = 0, most = 0;
  for (int64_t i = 0; i < kGgmlBlock; ++i) {
    if (!(size < __builtin_fabsf(x[i]))) continue;
    size = __builtin_fabsf(x[i]);
    most = x[i];
  }
  const float scale = most / -8.0F, inverse = scale != 0 ? 1.0F / scale : 0.0F;
  for (int64_t i = 0; i < kGgmlBlock; ++i) {
    const float shifted = x[i] * inverse + 8.5F;
    const int code = shifted >= 0 && shifted < 128 ? static_cast<int>(shifted) : 0;
    x[i] = static_cast<float>((code < 15 ? code : 15) - 8);
  }
  return half(scale);
}

template <class Half>
inline float store_block(KvCache cache, float* x, Half&& half) {
  return cache == KvCache::q8_0 ? store_q8_0(x, half) : store_q4_0(x, half);
}

}  // namespace
}  // namespace kerf
