// GGUF IQ3_XXS: 256 weights in 98 bytes: a half d; for every 4 weights an entry; for every 32 signs and a scale.
// Source: block_iq3_xxs in ggml-common.h, dequantize_row_iq3_xxs in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ3_XXS {
  static constexpr int64_t kWeights = 256, kBytes = 98;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq3_xxs");
    std::memcpy(out, params[0], 2);
    for (int k = 0; k < 64; ++k) out[2 + k] = static_cast<std::byte>(book.entry_of(codes + 4 * k));
    for (int b = 0; b < 8; ++b) pack_signs_and_scale(book, codes + 32 * b, params[1][b], out + 66 + 4 * b);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq3_xxs");
    std::memcpy(params[0], in, 2);
    for (int k = 0; k < 64; ++k) put_entry(book, std::to_integer<unsigned>(in[2 + k]), codes + 4 * k);
    for (int b = 0; b < 8; ++b) params[1][b] = unpack_signs_and_scale(book, in + 66 + 4 * b, codes + 32 * b);
  }
};

}  // namespace

const Layout& layout_gguf_iq3_xxs() {
  static const GgufBlockLayout<IQ3_XXS> layout("gguf-iq3_xxs", "IQ3_XXS", codebook_words("iq3_xxs", 4, 8, 32));
  return layout;
}

}  // namespace kerf
