// GGUF Q3_K: 256 weights in 110 bytes: 32 bytes of third bits, 64 bytes of the lower two, 16 six-bit scales (minus 32)
// in 12 bytes, a half d. Of scale i the lower nibble stands in byte i % 8 (its upper half from 8 on), the upper two
// bits in byte 8 + i % 4 at bit 2 (i / 4). Source: block_q3_K in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q3_K {
  static constexpr int64_t kWeights = 256, kBytes = 110;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    pack_ones<2>(codes, out);
    pack_twos<0>(codes, out + 32);
    std::byte* scales = out + 96;
    std::fill_n(scales, 12, std::byte{0});
    for (int i = 0; i < 16; ++i) {
      const auto s = static_cast<std::byte>(std::to_integer<int>(params[1][i]) + 32);
      scales[i % 8] |= (s & std::byte{15}) << (i / 8 * 4);
      scales[8 + i % 4] |= (s >> 4 & std::byte{3}) << (i / 4 * 2);
    }
    std::memcpy(out + 108, params[0], 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::fill_n(codes, kWeights, uint8_t{0});
    unpack_ones<2>(in, codes);
    unpack_twos<0>(in + 32, codes);
    const std::byte* scales = in + 96;
    for (int i = 0; i < 16; ++i) {
      const std::byte s =
          (scales[i % 8] >> (i / 8 * 4) & std::byte{15}) | (scales[8 + i % 4] >> (i / 4 * 2) & std::byte{3}) << 4;
      params[1][i] = static_cast<std::byte>(std::to_integer<int>(s) - 32);
    }
    std::memcpy(params[0], in + 108, 2);
  }
};

}  // namespace

const Layout& layout_gguf_q3_k() {
  static const GgufBlockLayout<Q3_K> layout("gguf-q3_k", "Q3_K", two_level_symmetric(3, 16, 6));
  return layout;
}

}  // namespace kerf
