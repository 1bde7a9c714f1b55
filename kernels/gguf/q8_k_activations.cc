// The definition of the 8-bit activation blocks of 256, in plain code.
#include "kernels/gguf/q8_k_activations.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "kernels/gemm.h"

namespace kerf {

int64_t q8_k_activation_bytes(const PackedMatrix& w) {
  if (w.cols % kQ8KBlock != 0)
    fail(ErrorKind::unsupported, "rows of {} weights: this GGUF block format holds multiples of {} only", w.cols,
         kQ8KBlock);
  return w.cols + w.cols / kQ8KBlock * 4 + w.cols / kQ8KSum * 2;
}

void round_to_q8_k_ref(const PackedMatrix& w, const float* x, std::byte* out) {
  const int64_t blocks = w.cols / kQ8KBlock;
  std::byte* const sums = out + w.cols + blocks * 4;
  for (int64_t b = 0; b < blocks; ++b) {
    const float* xb = x + b * kQ8KBlock;
    // Magnitudes compare like their bit patterns, with NaN above infinity: no NaN is lost.
    float largest = 0;
    for (int64_t k = 0; k < kQ8KBlock; ++k) {
      const auto magnitude = [](float v) { return std::bit_cast<uint32_t>(v) & 0x7fffffffu; };
      if (magnitude(xb[k]) > magnitude(largest)) largest = xb[k];
    }
    const float inverse = -127.0f / largest;
    const float scale = largest != 0.0f ? 1.0f / inverse : 0.0f;
    const bool rounds = std::isfinite(inverse) && inverse != 0.0f;
    std::memcpy(out + w.cols + b * 4, &scale, 4);
    for (int64_t i = 0; i < kQ8KBlock / kQ8KSum; ++i) {
      int16_t sum = 0;
      for (int64_t k = i * kQ8KSum; k < (i + 1) * kQ8KSum; ++k) {
        // nearbyint: ties to even, the default rounding mode, which kerf never changes
        const auto code = static_cast<int8_t>(rounds ? std::nearbyint(xb[k] * inverse) : 0.0f);
        std::memcpy(out + b * kQ8KBlock + k, &code, 1);
        sum = static_cast<int16_t>(sum + code);
      }
      std::memcpy(sums + (b * (kQ8KBlock / kQ8KSum) + i) * 2, &sum, 2);
    }
  }
}

void q8_k_activation_values(const PackedMatrix& w, const std::byte* row, float* out) {
  for (int64_t k = 0; k < w.cols; ++k) {
    float scale;
    std::memcpy(&scale, row + w.cols + k / kQ8KBlock * 4, 4);
    out[k] = static_cast<float>(static_cast<int8_t>(row[k])) * scale;
  }
}

}  // namespace kerf
