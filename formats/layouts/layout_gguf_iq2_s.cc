// GGUF IQ2_S: 256 weights in 82 bytes: a half d; for every 8 weights a byte of entry; their signs; the upper two bits
// of the entries, four to a byte; 4-bit scales. Source: block_iq2_s in ggml-common.h, dequantize_row_iq2_s in
// ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ2_S {
  static constexpr int64_t kWeights = 256, kBytes = 82;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq2_s");
    std::memcpy(out, params[0], 2);
    std::fill_n(out + 66, 8, std::byte{0});
    for (int k = 0; k < 32; ++k) {
      const int entry = book.entry_of(codes + 8 * k);
      out[2 + k] = static_cast<std::byte>(entry & 255);
      out[34 + k] = static_cast<std::byte>(signs_of(book, codes + 8 * k));
      out[66 + k / 4] |= static_cast<std::byte>(entry >> 8 << k % 4 * 2);
    }
    pack_scales(params[1], 16, out + 74);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq2_s");
    std::memcpy(params[0], in, 2);
    for (int k = 0; k < 32; ++k) {
      const unsigned high = std::to_integer<unsigned>(in[66 + k / 4]) >> k % 4 * 2 & 3;
      put_entry(book, std::to_integer<unsigned>(in[2 + k]) | high << 8, codes + 8 * k);
      put_signs(book, std::to_integer<unsigned>(in[34 + k]), codes + 8 * k);
    }
    unpack_scales(in + 74, 16, params[1]);
  }
};

}  // namespace

const Layout& layout_gguf_iq2_s() {
  static const GgufBlockLayout<IQ2_S> layout("gguf-iq2_s", "IQ2_S", codebook_words("iq2_s", 3, 8, 16));
  return layout;
}

}  // namespace kerf
