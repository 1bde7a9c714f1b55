// IQ1_S: 50 bytes per 256 weights: F16 d, 32 bytes of lower bits of indices, and for each 32 weights 16 bits: three
// upper bits for each of four indices, a scale of 3 bits, the sign of delta. A weight is d * (2 scale + 1) * (g +
// delta), g of the codebook and delta an eighth of either sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ1_S : IQ1_SType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq1);
    block.d = half_at(p) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const unsigned rest = u16_at(p + 34, part);
      put_scale(block, part, rest >> 12 & 7, rest >> 12 & 7);
      for (int i = 0; i < 4; ++i) {
        const int eight = part * 4 + i;
        put_ternary(block, eight, book[byte_at(p, 2 + eight) | (rest >> 3 * i & 7) << 8], rest >> 15);
      }
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq1_s_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ1_S>("IQ1_S");
  return gemm;
}

}  // namespace kerf
