// GGUF IQ1_M: 256 weights in 56 bytes: for every 8 weights a byte of entry; for every 8 a nibble: three upper bits of
// the entry, and whether delta is negative; for every 64 sixteen bits: four 3-bit scales, and a nibble of the half d,
// the lowest first. Source: block_iq1_m in ggml-common.h, dequantize_row_iq1_m in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ1_M {
  static constexpr int64_t kWeights = 256, kBytes = 56;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq1_m");
    std::fill_n(out + 32, 16, std::byte{0});
    for (int k = 0; k < 32; ++k) {
      const auto entry = static_cast<unsigned>(book.entry_of(codes + 8 * k));
      const unsigned nibble = entry >> 8 | (codes[8 * k] & book.flag ? 8u : 0u);
      out[k] = static_cast<std::byte>(entry & 255);
      out[32 + k / 2] |= static_cast<std::byte>(nibble << k % 2 * 4);
    }
    uint16_t d;
    std::memcpy(&d, params[0], 2);
    for (int i = 0; i < 4; ++i) {
      unsigned bits = (d >> 4 * i & 15u) << 12;
      for (int k = 0; k < 4; ++k) bits |= std::to_integer<unsigned>(params[1][4 * i + k]) << 3 * k;
      const auto scales = static_cast<uint16_t>(bits);
      std::memcpy(out + 48 + 2 * i, &scales, 2);
    }
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq1_m");
    for (int k = 0; k < 32; ++k) {
      const unsigned nibble = std::to_integer<unsigned>(in[32 + k / 2]) >> k % 2 * 4 & 15;
      put_entry(book, std::to_integer<unsigned>(in[k]) | (nibble & 7) << 8, codes + 8 * k);
      put_signs(book, nibble & 8 ? 255 : 0, codes + 8 * k);
    }
    unsigned d = 0;
    for (int i = 0; i < 4; ++i) {
      uint16_t scales;
      std::memcpy(&scales, in + 48 + 2 * i, 2);
      for (int k = 0; k < 4; ++k) params[1][4 * i + k] = static_cast<std::byte>(scales >> 3 * k & 7);
      d |= static_cast<unsigned>(scales >> 12) << 4 * i;
    }
    const auto half = static_cast<uint16_t>(d);
    std::memcpy(params[0], &half, 2);
  }
};

}  // namespace

const Layout& layout_gguf_iq1_m() {
  static const GgufBlockLayout<IQ1_M> layout("gguf-iq1_m", "IQ1_M", codebook_words("iq1_m", 3, 8, 16, 3));
  return layout;
}

}  // namespace kerf
