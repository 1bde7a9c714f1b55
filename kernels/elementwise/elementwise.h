// The operations of a forward pass that are not products: one row at a time, on one thread.
//
// One source (elementwise_body.h) is compiled for each instruction set. Sums are taken over 16 interleaved lanes in a
// fixed order and nothing is contracted, so every instruction set gives the same bits.
// (No standard library in here: files compiled for one instruction set must not emit templates that others share.)
#pragma once

#include <stdint.h>

namespace kerf {

enum class Rounding { none, f16, bf16 };

struct Elementwise {
  /// x[i] rounded to nearest even; f16 overflows to infinity, NaN stays.
  void (*round)(float* x, int64_t n, Rounding);
  /// x[i] += y[i], rounded.
  void (*add)(float* x, const float* y, int64_t n, Rounding);
  /// out[i] = round(x[i] / sqrt(mean(x^2) + eps)) * weight[i], rounded. The mean is summed in double.
  void (*rms_norm)(const float* x, const float* weight, float* out, int64_t n, float eps, Rounding);
  /// out[i] = round(silu(gate[i])) * up[i], rounded; silu(g) = g / (1 + e^-g), within 4 ulp. out may be gate.
  void (*silu_gate)(const float* gate, const float* up, float* out, int64_t n, Rounding);
  /// Rotates `heads` heads of 2 * half values: x[h] = x[h] cos[h] - x[h + half] sin[h] and
  /// x[h + half] = x[h + half] cos[h] + x[h] sin[h]; both products and the sum are rounded.
  void (*rotate)(float* x, int64_t heads, int64_t half, const float* cosines, const float* sines, Rounding);
  /// row[i] = e^(scale (row[i] - max)) / sum for i < valid, rounded; 0 for valid <= i < n. valid >= 1. With `fused` the
  /// exponentials are rounded and left undivided. Returns what remains to multiply with: 1 / sum then, otherwise 1.
  float (*softmax)(float* row, int64_t valid, int64_t n, float scale, bool fused, Rounding);
  /// The largest element; NaN when there is one. n >= 1.
  float (*max)(const float* x, int64_t n);
  /// sum of e^(x[i] - max). Elements are float, summed in double after every 256.
  double (*sum_exp)(const float* x, int64_t n, float max);
  /// sum of e^(a[i] - max) (a[i] - b[i]), in the same way.
  double (*sum_exp_difference)(const float* a, const float* b, int64_t n, float max);
  /// out[i] = factor (e^(b[i] - log_b) - e^(a[i] - log_a)).
  void (*exp_difference)(const float* a, float log_a, const float* b, float log_b, int64_t n, float factor, float* out);
  /// out[i] = e^x[i], within 2 ulp from -87.33 to 88.02; 0 below, e^88.02 above, NaN for NaN.
  void (*exp)(const float* x, float* out, int64_t n);
};

const Elementwise& elementwise_ref();
const Elementwise& elementwise_avx2();
const Elementwise& elementwise_avx512();

}  // namespace kerf
