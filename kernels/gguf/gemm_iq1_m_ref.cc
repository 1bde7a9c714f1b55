// IQ1_M: 56 bytes per 256 weights: 32 bytes of lower bits of indices, 16 bytes of nibbles: three upper bits of an index
// and the sign of its delta; four times 16 bits of four scales of 3 bits, for 16 weights each, and on top a nibble of d
// (F16, the lowest nibble first). A weight is as in IQ1_S.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ1_M : IQ1_MType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq1);
    unsigned d = 0;
    for (int i = 0; i < 4; ++i) d |= u16_at(p + 48, i) >> 12 << 4 * i;
    block.d = f16_to_f32(static_cast<uint16_t>(d)) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const unsigned scales = u16_at(p + 48, part / 2) >> part % 2 * 6;
      put_scale(block, part, scales & 7, scales >> 3 & 7);
      for (int i = 0; i < 4; ++i) {
        const int eight = part * 4 + i;
        const unsigned nibble = byte_at(p, 32 + eight / 2) >> eight % 2 * 4 & 15;
        put_ternary(block, eight, book[byte_at(p, eight) | (nibble & 7) << 8], nibble >> 3);
      }
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq1_m_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ1_M>("IQ1_M");
  return gemm;
}

}  // namespace kerf
