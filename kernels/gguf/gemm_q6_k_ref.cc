// Q6_K: 210 bytes per 256 weights: 128 bytes of low nibbles, 64 bytes of upper 2 bits, 16 int8 scales of 16 weights
// each, F16 d. In each half of 128 weights byte j of 64 holds the nibbles of weights j (low) and 64 + j (high), and
// byte j of 32 the upper bits of weights j, 32 + j, 64 + j and 96 + j, lowest first.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct Q6_K : Q6_KType {
  static void unpack(const std::byte* p, KBlock& block) {
    block.d = half_at(p + 208);
    for (int j = 0; j < 16; ++j) block.scales[j] = static_cast<int8_t>(p[192 + j]);
    for (int k = 0; k < kQ8KBlock; ++k) {
      const int half = k / 128, at = k % 128;
      const int low = std::to_integer<int>(p[half * 64 + at % 64]) >> at / 64 * 4 & 15;
      const int high = std::to_integer<int>(p[128 + half * 32 + at % 32]) >> at / 32 * 2 & 3;
      block.codes[k] = low | high << 4;
    }
  }
};

}  // namespace

const PackedGemm& gemm_q6_k_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<Q6_K>("Q6_K");
  return gemm;
}

}  // namespace kerf
