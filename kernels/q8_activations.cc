// The definition of the 8-bit activation blocks, in plain code.
#include "kernels/q8_activations.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

int8_t x86_code(float scaled) {
  const float rounded = std::nearbyint(scaled);  // ties to even: the default rounding mode, which kerf never changes
  if (!(std::abs(rounded) < 0x1p31f)) return -128;
  return static_cast<int8_t>(rounded < -128.0f ? -128.0f : rounded > 127.0f ? 127.0f : rounded);
}

int64_t activation_bytes(const PackedMatrix& w, int corrections) {
  if (w.cols % kQ8Block != 0)
    fail(ErrorKind::unsupported, "rows of {} weights: GGUF block formats hold multiples of {} only", w.cols, kQ8Block);
  return w.cols + w.cols / kQ8Block * (4 + corrections * 4);
}

}  // namespace

int64_t q8_0_activation_bytes(const PackedMatrix& w) { return activation_bytes(w, 8); }
int64_t q4_0_activation_bytes(const PackedMatrix& w) { return activation_bytes(w, 1); }

void round_to_q8_ref(int64_t cols, int zero_point, int corrections, const float* x, std::byte* out) {
  const int64_t blocks = cols / kQ8Block, codes_each = kQ8Block / corrections;
  for (int64_t b = 0; b < blocks; ++b) {
    const float* xb = x + b * kQ8Block;
    // Magnitudes compare like their bit patterns, with NaN above infinity: no NaN is lost, whatever the order.
    uint32_t largest = 0;
    for (int64_t k = 0; k < kQ8Block; ++k) {
      const uint32_t magnitude = std::bit_cast<uint32_t>(xb[k]) & 0x7fffffffu;
      if (magnitude > largest) largest = magnitude;
    }
    const float amax = std::bit_cast<float>(largest);
    const float scale = f16_to_f32(f32_to_f16(amax / 127.0f));
    const float inverse = amax != 0.0f ? 127.0f / amax : 0.0f;
    std::memcpy(out + cols + b * 4, &scale, 4);
    for (int64_t i = 0; i < corrections; ++i) {
      int32_t sum = 0;
      for (int64_t k = i * codes_each; k < (i + 1) * codes_each; ++k) {
        const int8_t code = x86_code(xb[k] * inverse);
        std::memcpy(out + b * kQ8Block + k, &code, 1);
        sum += code;
      }
      const int32_t correction = -zero_point * sum;
      std::memcpy(out + cols + (blocks + b * corrections + i) * 4, &correction, 4);
    }
  }
}

void q8_activation_values(const PackedMatrix& w, const std::byte* row, float* out) {
  for (int64_t k = 0; k < w.cols; ++k) {
    float scale;
    std::memcpy(&scale, row + w.cols + k / kQ8Block * 4, 4);
    out[k] = static_cast<float>(static_cast<int8_t>(row[k])) * scale;
  }
}

}  // namespace kerf
