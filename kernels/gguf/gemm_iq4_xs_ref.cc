// IQ4_XS: 136 bytes per 256 weights: F16 d, 16 bits of upper and 4 bytes of lower halves of 8 scales of 32 weights each
// (6 bits, stored plus 32), 128 bytes of nibbles. Nibble i of the lower halves and bits 2 i of the upper ones belong to
// scale i; byte j of the i-th 16 holds weight 32 i + j low and weight 32 i + 16 + j high, as an index of a table of
// values (kvalues_iq4nl in llama.cpp's ggml-common.h).
#include "kernels/gguf/q8_k_gemm_ref.h"
#include "kernels/gguf/q8_types.h"

namespace kerf {
namespace {

struct IQ4_XS : IQ4_XSType {
  static void unpack(const std::byte* p, KBlock& block) {
    const auto at = [p](int i) { return std::to_integer<int>(p[i]); };
    block.d = half_at(p);
    const int upper = at(2) | at(3) << 8;
    for (int j = 0; j < 16; ++j) {
      const int i = j / 2;
      block.scales[j] = ((at(4 + i / 2) >> i % 2 * 4 & 15) | (upper >> 2 * i & 3) << 4) - 32;
    }
    for (int k = 0; k < kQ8KBlock; ++k)
      block.codes[k] = kIq4Values[at(8 + k / 32 * 16 + k % 16) >> k % 32 / 16 * 4 & 15];
  }
};

}  // namespace

const PackedGemm& gemm_iq4_xs_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ4_XS>("IQ4_XS");
  return gemm;
}

}  // namespace kerf
