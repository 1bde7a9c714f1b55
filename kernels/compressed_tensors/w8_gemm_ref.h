// The definition of products with 8-bit weights and activations in float32 sums (w8_activations.h has the two rules).
// With C = round to `compute`, q = the value of a code:
//   package   w = C(C(scale) * q)      a = C(s * q_a), s = C(absmax / top), q_a = nearest code of C(x / s)
//   vllm      w = scale * q            a = s * q_a,    s = absmax / top,    q_a = nearest code of x / s
//   y[t, r] = sum over k, in order, of a * w in float32,
// where x has been rounded to `compute` and absmax is taken over activation_group values. A group with an absmax that
// is not finite becomes NaN. Ties go to the even code. vLLM multiplies codes and scales the sum; its tensor cores'
// order of sums is not known, so this definition says the value, and the bound of the tests covers any order.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/compressed_tensors/w8_activations.h"
#include "kernels/gemm.h"

namespace kerf {

/// Signed integers.
struct Int8Ref {
  static constexpr float kTop = 127.5f;  // the package's; products with vLLM's 127 are in w8a8_gemm_ref.h
  static float value(std::byte code) { return static_cast<float>(static_cast<int8_t>(std::to_integer<uint8_t>(code))); }
  static float nearest(float x) { return std::nearbyint(x < -128.0f ? -128.0f : x > 127.0f ? 127.0f : x); }
};

/// e4m3 floats.
struct Fp8Ref {
  static constexpr float kTop = 448;
  static float value(std::byte code) { return f8_e4m3_to_f32(std::to_integer<uint8_t>(code)); }
  static float nearest(float x) { return f8_e4m3_to_f32(f32_to_f8_e4m3(x)); }
};

/// What the package divides by where all activations are zero.
inline float package_epsilon(Dtype compute) {
  return compute == Dtype::bf16 ? 0x1p-7f : compute == Dtype::f16 ? 0x1p-10f : 0x1p-23f;
}

/// vLLM's smallest scales: 1 / (448 * 512) for a token, 1e-10 / 448 for a group of one.
inline float vllm_fp8_scale(float absmax, bool token) {
  if (!token) return (absmax > 1e-10f ? absmax : 1e-10f) / 448.0f;
  const float scale = absmax / 448.0f, least = 1.0f / (448.0f * 512.0f);
  return scale > least ? scale : least;
}

inline float w8_scale_ref(const PackedMatrix& w, int64_t r, int64_t k) {
  const std::byte* scales = w.scales + r / w.scale_rows * w.scale_stride;
  const int64_t g = k / w.group;
  float scale;
  if (w.scale_dtype == Dtype::f32) {
    std::memcpy(&scale, scales + g * 4, 4);
    return scale;
  }
  uint16_t half;
  std::memcpy(&half, scales + g * 2, 2);
  return w.scale_dtype == Dtype::f16 ? f16_to_f32(half) : bf16_to_f32(half);
}

template <class Code, ActivationRule kRule>
struct W8GemmRef {
  static Dtype step(const PackedMatrix& w) { return kRule == ActivationRule::package ? w.compute : Dtype::f32; }

  static float weight(const PackedMatrix& w, int64_t r, int64_t k) {
    const float scale = round_to(step(w), w8_scale_ref(w, r, k));
    return round_to(step(w), Code::value(w.codes[r * w.code_stride + k]) * scale);
  }

  static float scale_of(const PackedMatrix& w, float absmax) {
    if constexpr (kRule == ActivationRule::vllm) return vllm_fp8_scale(absmax, w.activation_group == w.cols);
    const float scale = round_to(w.compute, absmax / Code::kTop);
    return scale == 0 ? package_epsilon(w.compute) : scale;
  }

  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    for (int64_t g = 0; g < w.cols; g += w.activation_group) {
      float absmax = 0;
      bool finite = true;
      for (int64_t k = g; k < g + w.activation_group; ++k) {
        const float magnitude = std::abs(round_to(w.compute, x[k]));
        finite = finite && std::isfinite(magnitude);
        if (magnitude > absmax) absmax = magnitude;
      }
      const float scale = scale_of(w, absmax);
      for (int64_t k = g; k < g + w.activation_group; ++k) {
        float a = std::numeric_limits<float>::quiet_NaN();
        if (finite) {
          const float scaled = round_to(step(w), round_to(w.compute, x[k]) / scale);
          a = round_to(step(w), Code::nearest(scaled) * scale);
        }
        std::memcpy(out + k * 4, &a, 4);
      }
    }
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = row_begin; r < row_end; ++r) {
        float sum = 0;
        for (int64_t k = 0; k < w.cols; ++k) {
          float a;
          std::memcpy(&a, activations + (t * w.cols + k) * 4, 4);
          sum += a * weight(w, r, k);
        }
        y[t * y_stride + (r - row_begin)] = sum;
      }
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t k = 0; k < w.cols; ++k) out[k] = weight(w, row, k);
  }
};

template <class Code, ActivationRule kRule>
constexpr PackedGemm w8_gemm_ref(std::string_view format) {
  using Gemm = W8GemmRef<Code, kRule>;
  return {.format = format,
          .isa = Isa::ref,
          .activation_bytes = w8_activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = w8_activation_values};
}

}  // namespace kerf
