// GGUF Q4_K: 256 weights in 144 bytes: halves d and dmin, 12 bytes of scales and minima (gguf_kscales.h), and nibbles
// by 64 weights: 32 bytes whose low nibbles are the first 32 and whose high nibbles the next. Source: block_q4_K in
// ggml-common.h.
#include "formats/gguf_blocks.h"
#include "formats/gguf_kscales.h"

namespace kerf {
namespace {

struct Q4_K {
  static constexpr int64_t kWeights = 256, kBytes = 144;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    std::memcpy(out + 2, params[1], 2);
    pack_kscales(params[2], params[3], out + 4);
    for (int64_t j = 0; j < 256; ++j)
      if (j % 64 < 32) out[16 + j / 64 * 32 + j % 64] = static_cast<std::byte>(codes[j] | codes[j + 32] << 4);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    std::memcpy(params[1], in + 2, 2);
    unpack_kscales(in + 4, params[2], params[3]);
    for (int64_t j = 0; j < 256; ++j)
      codes[j] = std::to_integer<uint8_t>(in[16 + j / 64 * 32 + j % 32] >> (j % 64 / 32 * 4)) & 15;
  }
};

}  // namespace

const Layout& layout_gguf_q4_k() {
  static const GgufBlockLayout<Q4_K> layout("gguf-q4_k", "Q4_K", two_level_affine(4, 32, 6));
  return layout;
}

}  // namespace kerf
