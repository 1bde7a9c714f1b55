// IQ3_XXS: 98 bytes per 256 weights: F16 d, 64 bytes of indices of four weights each, and for each 32 weights a word of
// four times seven signs with a scale of 4 bits on top. A weight is d / 4 * (2 scale + 1) * magnitude, with its sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ3_XXS : IQ3_XXSType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint32_t* book = iq_fours(IqCodebook::iq3_xxs);
    block.d = half_at(p) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const unsigned word = u32_at(p + 66, part);
      put_scale(block, part, word >> 28, word >> 28);
      for (int i = 0; i < 4; ++i) {
        const int eight = part * 4 + i;
        put_fours(block, eight, book[byte_at(p, 2 + 2 * eight)], book[byte_at(p, 3 + 2 * eight)],
                  even_signs(word >> 7 * i & 127));
      }
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq3_xxs_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ3_XXS>("IQ3_XXS");
  return gemm;
}

}  // namespace kerf
