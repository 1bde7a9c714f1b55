// GGUF IQ4_XS: 256 weights in 136 bytes: a half d, eight 6-bit scales (minus 32): two bytes with their upper two bits,
// four with their nibbles; nibbles by 32 weights with the halves split. value = d * s * number[q].
// Source: block_iq4_xs in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct IQ4_XS {
  static constexpr int64_t kWeights = 256, kBytes = 136;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    std::fill_n(out + 2, 6, std::byte{0});
    for (int i = 0; i < 8; ++i) {
      const auto s = static_cast<std::byte>(std::to_integer<int>(params[1][i]) + 32);
      out[2 + i / 4] |= (s >> 4 & std::byte{3}) << (i % 4 * 2);
      out[4 + i / 2] |= (s & std::byte{15}) << (i % 2 * 4);
    }
    pack_nibbles<16>(codes, out + 8);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    for (int i = 0; i < 8; ++i) {
      const std::byte s = (in[4 + i / 2] >> (i % 2 * 4) & std::byte{15}) | (in[2 + i / 4] >> (i % 4 * 2) & std::byte{3})
                                                                               << 4;
      params[1][i] = static_cast<std::byte>(std::to_integer<int>(s) - 32);
    }
    unpack_nibbles<16>(in + 8, codes);
  }
};

}  // namespace

const Layout& layout_gguf_iq4_xs() {
  static const GgufBlockLayout<IQ4_XS> layout("gguf-iq4_xs", "IQ4_XS", two_level_symmetric(4, 32, 6, "kquant-iq4"));
  return layout;
}

}  // namespace kerf
