// IQ2_XS: 74 bytes per 256 weights: F16 d, 32 times 16 bits of nine for the index and seven signs above, 8 bytes of
// scales: nibble i is that of the i-th 16 weights. A weight is d / 8 * (2 scale + 1) * magnitude, with its sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ2_XS : IQ2_XSType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_xs);
    block.d = half_at(p) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const unsigned scales = byte_at(p, 66 + part);
      put_scale(block, part, scales & 15, scales >> 4);
      for (int i = part * 4; i < part * 4 + 4; ++i) {
        const unsigned word = u16_at(p + 2, i);
        put_eight(block, i, book[word & 511], even_signs(word >> 9));
      }
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq2_xs_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ2_XS>("IQ2_XS");
  return gemm;
}

}  // namespace kerf
