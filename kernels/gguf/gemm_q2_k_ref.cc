// Q2_K: 84 bytes per 256 weights: 16 bytes with the 4-bit scale (low) and minimum (high) of 16 weights each, 64 bytes
// of codes, F16 d, F16 dmin. Bits 2 i of code byte j of a half of 128 belong to its weight 32 i + j.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct Q2_K : Q2_KType {
  static void unpack(const std::byte* p, KBlock& block) {
    const auto at = [p](int i) { return std::to_integer<int>(p[i]); };
    block.d = half_at(p + 80);
    block.dmin = half_at(p + 82);
    for (int j = 0; j < 16; ++j) {
      block.scales[j] = at(j) & 15;
      block.mins[j] = at(j) >> 4;
    }
    for (int k = 0; k < kQ8KBlock; ++k) block.codes[k] = at(16 + k / 128 * 32 + k % 32) >> k % 128 / 32 * 2 & 3;
  }
};

}  // namespace

const PackedGemm& gemm_q2_k_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<Q2_K>("Q2_K");
  return gemm;
}

}  // namespace kerf
