// TQ2_0: 66 bytes per 256 weights: 64 bytes of codes 0, 1 and 2 (and 3, which nobody should write), F16 d; a weight is
// d * (code - 1). Bits 2 i of byte j of a half of 128 belong to its weight 32 i + j.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct TQ2_0 : TQ2_0Type {
  static void unpack(const std::byte* p, KBlock& block) {
    block.d = half_at(p + 64);
    for (int& scale : block.scales) scale = 1;
    for (int k = 0; k < kQ8KBlock; ++k)
      block.codes[k] = std::to_integer<int>(p[k / 128 * 32 + k % 32]) >> k % 128 / 32 * 2 & 3;
  }
};

}  // namespace

const PackedGemm& gemm_tq2_0_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<TQ2_0>("TQ2_0");
  return gemm;
}

}  // namespace kerf
