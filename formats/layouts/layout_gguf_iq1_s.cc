// GGUF IQ1_S: 256 weights in 50 bytes: a half d; for every 8 weights a byte of entry; for every 32 sixteen bits: three
// upper bits of each of four entries, a 3-bit scale, and whether delta is negative. Source: block_iq1_s in
// ggml-common.h, dequantize_row_iq1_s in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_words.h"

namespace kerf {
namespace {

struct IQ1_S {
  static constexpr int64_t kWeights = 256, kBytes = 50;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    const Codebook& book = codebook("iq1_s");
    std::memcpy(out, params[0], 2);
    for (int b = 0; b < 8; ++b) {
      const unsigned scale = std::to_integer<unsigned>(params[1][b]);
      unsigned rest = scale << 12;
      for (int k = 0; k < 4; ++k) {
        uint8_t word[8];
        std::memcpy(word, codes + 32 * b + 8 * k, 8);
        if (scale & 8) mirror(word);
        const auto entry = static_cast<unsigned>(book.entry_of(word));
        out[2 + 4 * b + k] = static_cast<std::byte>(entry & 255);
        rest |= entry >> 8 << 3 * k;
      }
      const auto bits = static_cast<uint16_t>(rest);
      std::memcpy(out + 34 + 2 * b, &bits, 2);
    }
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    const Codebook& book = codebook("iq1_s");
    std::memcpy(params[0], in, 2);
    for (int b = 0; b < 8; ++b) {
      uint16_t rest;
      std::memcpy(&rest, in + 34 + 2 * b, 2);
      params[1][b] = static_cast<std::byte>(rest >> 12);
      for (int k = 0; k < 4; ++k) {
        uint8_t* word = codes + 32 * b + 8 * k;
        put_entry(book, std::to_integer<unsigned>(in[2 + 4 * b + k]) | (rest >> 3 * k & 7u) << 8, word);
        if (rest >> 15) mirror(word);
      }
    }
  }
  // A negative delta is a negative scale of the opposite numbers.
  static void mirror(uint8_t* word) {
    for (int j = 0; j < 8; ++j) word[j] = static_cast<uint8_t>(2 - word[j]);
  }
};

}  // namespace

const Layout& layout_gguf_iq1_s() {
  static const GgufBlockLayout<IQ1_S> layout("gguf-iq1_s", "IQ1_S", codebook_words("iq1_s", 2, 8, 32, 4));
  return layout;
}

}  // namespace kerf
