// compressed-tensors int-quantized as vLLM's kernels compute it: the definition, bit for bit.
//   s_a = absmax / 127,  q_a = nearest integer of x * (127 / absmax), ties to even (0 where absmax is 0)
//   y[t, r] = s_a * (s_w * float32(sum over k of q_a * q_w in int32))
// x has been rounded to `compute`. An absmax that is not finite gives codes 0 and a NaN for s_a.
#include <cmath>
#include <cstring>
#include <limits>

#include "core/checked.h"
#include "kernels/compressed_tensors/w8_gemm_ref.h"

namespace kerf {
namespace {

int8_t code_at(const std::byte* codes, int64_t k) { return static_cast<int8_t>(std::to_integer<uint8_t>(codes[k])); }

void round(const PackedMatrix& w, const float* x, std::byte* out) {
  float absmax = 0, scale = std::numeric_limits<float>::quiet_NaN();
  bool finite = true;
  for (int64_t k = 0; k < w.cols; ++k) {
    const float magnitude = std::abs(round_to(w.compute, x[k]));
    finite = finite && std::isfinite(magnitude);
    if (magnitude > absmax) absmax = magnitude;
  }
  const int64_t padded = round_up<int64_t>(w.cols, 64);
  std::memset(out, 0, static_cast<size_t>(padded));
  int32_t sum = 0;
  if (finite) {
    scale = absmax / 127.0f;
    const float inverse = absmax == 0 ? 0 : 127.0f / absmax;
    for (int64_t k = 0; k < w.cols; ++k) {
      const float q = std::nearbyint(round_to(w.compute, x[k]) * inverse);
      // Infinite, or NaN for x = 0, where 127 / absmax overflows (absmax below 4e-37).
      const auto code = static_cast<int8_t>(q != q ? 0.0f : q < -127.0f ? -127.0f : q > 127.0f ? 127.0f : q);
      out[k] = static_cast<std::byte>(code);
      sum += code;
    }
  }
  std::memcpy(out + padded, &scale, 4);
  std::memcpy(out + padded + 4, &sum, 4);
}

void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations, int64_t tokens,
              float* y, int64_t y_stride) {
  const int64_t padded = round_up<int64_t>(w.cols, 64);
  for (int64_t t = 0; t < tokens; ++t) {
    const std::byte* a = activations + t * (padded + 8);
    float scale;
    std::memcpy(&scale, a + padded, 4);
    for (int64_t r = row_begin; r < row_end; ++r) {
      int32_t sum = 0;
      for (int64_t k = 0; k < w.cols; ++k) sum += code_at(a, k) * code_at(w.codes + r * w.code_stride, k);
      y[t * y_stride + (r - row_begin)] = scale * (w8_scale_ref(w, r, 0) * static_cast<float>(sum));
    }
  }
}

}  // namespace

const PackedGemm& gemm_vllm_w8a8_ref() {
  static constexpr PackedGemm gemm = {.format = "vllm-w8a8",
                                      .isa = Isa::ref,
                                      .activation_bytes = w8a8_activation_bytes,
                                      .round_activations = round,
                                      .multiply = multiply,
                                      .dequantize = W8GemmRef<Int8Ref, ActivationRule::vllm>::dequantize,
                                      .activation_values = w8a8_activation_values};
  return gemm;
}

}  // namespace kerf
