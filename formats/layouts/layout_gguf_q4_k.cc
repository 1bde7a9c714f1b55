// GGUF Q4_K: 256 weights in 144 bytes: halves d and dmin, 12 bytes of scales and minima, nibbles by 64 weights.
// Source: block_q4_K in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q4_K {
  static constexpr int64_t kWeights = 256, kBytes = 144;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    std::memcpy(out + 2, params[1], 2);
    pack_kscales(params[2], params[3], out + 4);
    pack_nibbles<32>(codes, out + 16);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    std::memcpy(params[1], in + 2, 2);
    unpack_kscales(in + 4, params[2], params[3]);
    unpack_nibbles<32>(in + 16, codes);
  }
};

}  // namespace

const Layout& layout_gguf_q4_k() {
  static const GgufBlockLayout<Q4_K> layout("gguf-q4_k", "Q4_K", two_level_affine(4, 32, 6));
  return layout;
}

}  // namespace kerf
