// Q3_K: 110 bytes per 256 weights: 32 bytes of high bits, 64 bytes of low 2 bits, 12 bytes of 6-bit scales of 16
// weights each (stored plus 32), F16 d. Bit i of high byte j belongs to weight 32 i + j; bits 2 i of low byte j of a
// half of 128 to its weight 32 i + j. A code is the low bits, minus 4 where the high bit is not set. Of scale j the low
// nibble is in byte j % 8 (high for j >= 8), the upper 2 bits in byte 8 + j % 4 at bit j / 4 * 2.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct Q3_K : Q3_KType {
  static void unpack(const std::byte* p, KBlock& block) {
    const auto at = [p](int i) { return std::to_integer<int>(p[i]); };
    block.d = half_at(p + 108);
    for (int j = 0; j < 16; ++j)
      block.scales[j] = ((at(96 + j % 8) >> j / 8 * 4 & 15) | (at(104 + j % 4) >> j / 4 * 2 & 3) << 4) - 32;
    for (int k = 0; k < kQ8KBlock; ++k) {
      const int low = at(32 + k / 128 * 32 + k % 32) >> k % 128 / 32 * 2 & 3;
      block.codes[k] = at(k % 32) >> k / 32 & 1 ? low : low - 4;
    }
  }
};

}  // namespace

const PackedGemm& gemm_q3_k_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<Q3_K>("Q3_K");
  return gemm;
}

}  // namespace kerf
