// Q5_K: 176 bytes per 256 weights: as Q4_K (gemm_q4_k_ref.cc), with 32 bytes of fifth bits before the nibbles: bit i of
// byte j belongs to weight 32 i + j.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct Q5_K : Q5_KType {
  static void unpack(const std::byte* p, KBlock& block) {
    block.d = half_at(p);
    block.dmin = half_at(p + 2);
    unpack_six_bit_scales(p + 4, block);
    for (int k = 0; k < kQ8KBlock; ++k) {
      const int low = std::to_integer<int>(p[48 + k / 64 * 32 + k % 32]) >> k % 64 / 32 * 4 & 15;
      const int high = std::to_integer<int>(p[16 + k % 32]) >> k / 32 & 1;
      block.codes[k] = low | high << 4;
    }
  }
};

}  // namespace

const PackedGemm& gemm_q5_k_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<Q5_K>("Q5_K");
  return gemm;
}

}  // namespace kerf
