// GGUF IQ3_S: 256 weights in 110 bytes: a half d; for every 4 weights a byte of entry; the ninth bits of the entries,
// signs, 4-bit scales. Source: block_iq3_s in ggml-common.h, dequantize_row_iq3_s in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ3_S {
  static constexpr int64_t kWeights = 256, kBytes = 110;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq3_s");
    std::memcpy(out, params[0], 2);
    std::fill_n(out + 66, 8, std::byte{0});
    for (int k = 0; k < 64; ++k) {
      const int entry = book.entry_of(codes + 4 * k);
      out[2 + k] = static_cast<std::byte>(entry & 255);
      out[66 + k / 8] |= static_cast<std::byte>(entry >> 8 << k % 8);
    }
    for (int k = 0; k < 32; ++k) out[74 + k] = static_cast<std::byte>(signs_of(book, codes + 8 * k));
    pack_scales(params[1], 8, out + 106);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq3_s");
    std::memcpy(params[0], in, 2);
    for (int k = 0; k < 64; ++k) {
      const unsigned high = std::to_integer<unsigned>(in[66 + k / 8]) >> k % 8 & 1;
      put_entry(book, std::to_integer<unsigned>(in[2 + k]) | high << 8, codes + 4 * k);
    }
    for (int k = 0; k < 32; ++k) put_signs(book, std::to_integer<unsigned>(in[74 + k]), codes + 8 * k);
    unpack_scales(in + 106, 8, params[1]);
  }
};

}  // namespace

const Layout& layout_gguf_iq3_s() {
  static const GgufBlockLayout<IQ3_S> layout("gguf-iq3_s", "IQ3_S", codebook_words("iq3_s", 4, 4, 32));
  return layout;
}

}  // namespace kerf
