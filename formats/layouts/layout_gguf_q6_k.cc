// GGUF Q6_K: 256 weights in 210 bytes: 128 bytes of low nibbles by 128 weights, 64 bytes of the upper two bits, 16 int8
// scales, a half d.
// Source: block_q6_K in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q6_K {
  static constexpr int64_t kWeights = 256, kBytes = 210;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    pack_nibbles<64>(codes, out);
    pack_twos<4>(codes, out + 128);
    std::memcpy(out + 192, params[1], 16);
    std::memcpy(out + 208, params[0], 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    unpack_nibbles<64>(in, codes);
    unpack_twos<4>(in + 128, codes);
    std::memcpy(params[1], in + 192, 16);
    std::memcpy(params[0], in + 208, 2);
  }
};

}  // namespace

const Layout& layout_gguf_q6_k() {
  static const GgufBlockLayout<Q6_K> layout("gguf-q6_k", "Q6_K", two_level_symmetric(6, 16, 8));
  return layout;
}

}  // namespace kerf
