// IQ3_S: 110 bytes per 256 weights: F16 d, 64 bytes of lower bits of indices of four weights each, 8 bytes of a ninth
// bit of eight indices each, 32 bytes of signs, 4 bytes of scales: nibble i is that of the i-th 32 weights. A weight is
// d * (2 scale + 1) * magnitude, with its sign.
#include "kernels/gguf/iq_gemm_ref.h"

namespace kerf {
namespace {

struct IQ3_S : IQ3_SType, IqBits {
  static void unpack(const std::byte* p, KBlock& block) {
    const uint32_t* book = iq_fours(IqCodebook::iq3_s);
    block.d = half_at(p);
    for (int part = 0; part < 8; ++part) {
      const unsigned ninth = byte_at(p, 66 + part), scale = byte_at(p, 106 + part / 2) >> part % 2 * 4 & 15;
      put_scale(block, part, scale, scale);
      const auto four = [&](int i) { return book[byte_at(p, 2 + part * 8 + i) | (ninth >> i & 1) << 8]; };
      for (int i = 0; i < 4; ++i)
        put_fours(block, part * 4 + i, four(2 * i), four(2 * i + 1), byte_at(p, 74 + part * 4 + i));
    }
  }
};

}  // namespace

const PackedGemm& gemm_iq3_s_ref() {
  static constexpr PackedGemm gemm = q8_k_gemm_ref<IQ3_S>("IQ3_S");
  return gemm;
}

}  // namespace kerf
