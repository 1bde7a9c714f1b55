// GGUF IQ2_XXS: 256 weights in 66 bytes: a half d; for every 32 weights four entries, then signs and a scale.
// Source: block_iq2_xxs in ggml-common.h, dequantize_row_iq2_xxs in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ2_XXS {
  static constexpr int64_t kWeights = 256, kBytes = 66;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq2_xxs");
    std::memcpy(out, params[0], 2);
    for (int b = 0; b < 8; ++b) {
      std::byte* part = out + 2 + 8 * b;
      for (int k = 0; k < 4; ++k) part[k] = static_cast<std::byte>(book.entry_of(codes + 32 * b + 8 * k));
      pack_signs_and_scale(book, codes + 32 * b, params[1][b], part + 4);
    }
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq2_xxs");
    std::memcpy(params[0], in, 2);
    for (int b = 0; b < 8; ++b) {
      const std::byte* part = in + 2 + 8 * b;
      for (int k = 0; k < 4; ++k) put_entry(book, std::to_integer<unsigned>(part[k]), codes + 32 * b + 8 * k);
      params[1][b] = unpack_signs_and_scale(book, part + 4, codes + 32 * b);
    }
  }
};

}  // namespace

const Layout& layout_gguf_iq2_xxs() {
  static const GgufBlockLayout<IQ2_XXS> layout("gguf-iq2_xxs", "IQ2_XXS", codebook_words("iq2_xxs", 3, 8, 32));
  return layout;
}

}  // namespace kerf
