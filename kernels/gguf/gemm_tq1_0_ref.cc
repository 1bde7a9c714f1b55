// TQ1_0: 54 bytes per 256 weights: 32 and 16 bytes of five codes each, 4 bytes of four codes each, F16 d; a weight is
// d * (code - 1). A byte is the fraction 0.c0 c1 c2 c3 c4 in base 3, times 256 and rounded up: code i is the integer
// part of 3 times what is left, modulo 256, after multiplying by 3^i. Code i of byte j is weight 32 i + j for the first
// 32 bytes, 160 + 16 i + j for the next 16 and 240 + 4 i + j for the last four.
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {
namespace {

struct TQ1_0 : TQ1_0Type {
  static void unpack(const std::byte* p, KBlock& block) {
    static constexpr int kPowers[5] = {1, 3, 9, 27, 81};
    const auto code = [p](int byte, int i) { return (std::to_integer<int>(p[byte]) * kPowers[i] & 255) * 3 >> 8; };
    block.d = half_at(p + 52);
    for (int& scale : block.scales) scale = 1;
    for (int k = 0; k < 160; ++k) block.codes[k] = code(k % 32, k / 32);
    for (int k = 0; k < 80; ++k) block.codes[160 + k] = code(32 + k % 16, k / 16);
    for (int k = 0; k < 16; ++k) block.codes[240 + k] = code(48 + k % 4, k / 4);
  }
};

}  // namespace

const PackedGemm& gemm_tq1_0_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<TQ1_0>("TQ1_0");
  return gemm;
}

}  // namespace kerf
