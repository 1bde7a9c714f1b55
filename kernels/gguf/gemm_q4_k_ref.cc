// Q4_K: 144 bytes per 256 weights: F16 d, F16 dmin, 12 bytes of 6-bit scales and minima of 32 weights each, 128 bytes
// of nibbles: byte j of the i-th 32 holds weight 64 i + j low and weight 64 i + 32 + j high.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct Q4_K : Q4_KType {
  static void unpack(const std::byte* p, KBlock& block) {
    block.d = half_at(p);
    block.dmin = half_at(p + 2);
    unpack_six_bit_scales(p + 4, block);
    for (int k = 0; k < kQ8KBlock; ++k)
      block.codes[k] = std::to_integer<int>(p[16 + k / 64 * 32 + k % 32]) >> k % 64 / 32 * 4 & 15;
  }
};

}  // namespace

const PackedGemm& gemm_q4_k_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<Q4_K>("Q4_K");
  return gemm;
}

}  // namespace kerf
