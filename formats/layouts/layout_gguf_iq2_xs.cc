// GGUF IQ2_XS: 256 weights in 74 bytes: a half d; for every 8 weights 9 bits of entry below 7 signs; 4-bit scales.
// Source: block_iq2_xs in ggml-common.h, dequantize_row_iq2_xs in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ2_XS {
  static constexpr int64_t kWeights = 256, kBytes = 74;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq2_xs");
    std::memcpy(out, params[0], 2);
    for (int k = 0; k < 32; ++k) {
      const uint8_t* c = codes + 8 * k;
      const auto bits = static_cast<uint16_t>(static_cast<unsigned>(book.entry_of(c)) | (signs_of(book, c) & 127) << 9);
      std::memcpy(out + 2 + 2 * k, &bits, 2);
    }
    pack_scales(params[1], 16, out + 66);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq2_xs");
    std::memcpy(params[0], in, 2);
    for (int k = 0; k < 32; ++k) {
      uint16_t bits;
      std::memcpy(&bits, in + 2 + 2 * k, 2);
      put_entry(book, bits & 511u, codes + 8 * k);
      put_signs(book, even_signs(bits >> 9), codes + 8 * k);
    }
    unpack_scales(in + 66, 16, params[1]);
  }
};

}  // namespace

const Layout& layout_gguf_iq2_xs() {
  static const GgufBlockLayout<IQ2_XS> layout("gguf-iq2_xs", "IQ2_XS", codebook_words("iq2_xs", 3, 8, 16));
  return layout;
}

}  // namespace kerf
