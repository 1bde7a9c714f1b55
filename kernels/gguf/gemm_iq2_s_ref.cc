// IQ2_S: 82 bytes per 256 weights: F16 d, 32 bytes of lower bits of indices, 32 of signs, 8 bytes of the two upper bits
// of four indices each, 8 bytes of scales as in IQ2_XS. A weight is d / 8 * (2 scale + 1) * magnitude, with its sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ2_S : IQ2_SType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_s);
    block.d = half_at(p) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const unsigned upper = byte_at(p, 66 + part), scales = byte_at(p, 74 + part);
      put_scale(block, part, scales & 15, scales >> 4);
      for (int i = 0; i < 4; ++i) {
        const int eight = part * 4 + i;
        put_eight(block, eight, book[byte_at(p, 2 + eight) | (upper >> 2 * i & 3) << 8], byte_at(p, 34 + eight));
      }
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq2_s_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ2_S>("IQ2_S");
  return gemm;
}

}  // namespace kerf
