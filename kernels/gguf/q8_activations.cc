// The definition of the 8-bit activation blocks, in plain code.
#include "kernels/gguf/q8_activations.h"

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

}  // namespace

int64_t q8_activation_bytes(const PackedMatrix& w, int64_t block, int extra_words) {
  if (w.cols % block != 0)
    fail(ErrorKind::unsupported, "rows of {} weights: this GGUF type holds multiples of {} only", w.cols, block);
  return w.cols + w.cols / kQ8Block * (4 + extra_words * 4);
}

void round_to_q8_ref(int64_t cols, int zero_point, int corrections, bool sums, const float* x, std::byte* out) {
  const int64_t blocks = cols / kQ8Block, codes_each = corrections ? kQ8Block / corrections : kQ8Block;
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
    int32_t of_block = 0;
    for (int64_t k0 = 0; k0 < kQ8Block; k0 += codes_each) {
      int32_t sum = 0;
      for (int64_t k = k0; k < k0 + codes_each; ++k) {
        const int8_t code = x86_code(xb[k] * inverse);
        std::memcpy(out + b * kQ8Block + k, &code, 1);
        sum += code;
      }
      of_block += sum;
      const int32_t correction = -zero_point * sum;
      const int64_t at = (sums ? 2 : 1) * blocks + b * corrections + k0 / codes_each;
      if (corrections) std::memcpy(out + cols + at * 4, &correction, 4);
    }
    if (!sums) continue;
    const float scaled_sum = f16_to_f32(f32_to_f16(amax / 127.0f * static_cast<float>(of_block)));
    std::memcpy(out + cols + (blocks + b) * 4, &scaled_sum, 4);
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
