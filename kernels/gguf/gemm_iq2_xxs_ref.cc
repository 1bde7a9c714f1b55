// IQ2_XXS: 66 bytes per 256 weights: F16 d, then for each 32 weights four bytes of indices and a word of four times
// seven signs with a scale of 4 bits on top. A weight is d / 8 * (2 scale + 1) * magnitude, with its sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ2_XXS : IQ2_XXSType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_xxs);
    block.d = half_at(p) * kFraction;
    for (int part = 0; part < 8; ++part) {
      const std::byte* indices = p + 2 + part * 8;
      const unsigned rest = u32_at(indices, 1);
      put_scale(block, part, rest >> 28, rest >> 28);
      for (int i = 0; i < 4; ++i)
        put_eight(block, part * 4 + i, book[byte_at(indices, i)], even_signs(rest >> 7 * i & 127));
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq2_xxs_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ2_XXS>("IQ2_XXS");
  return gemm;
}

}  // namespace kerf
