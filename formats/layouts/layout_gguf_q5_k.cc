// GGUF Q5_K: 256 weights in 176 bytes: as Q4_K, with 32 bytes of fifth bits before the nibbles.
// Source: block_q5_K in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q5_K {
  static constexpr int64_t kWeights = 256, kBytes = 176;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    std::memcpy(out + 2, params[1], 2);
    pack_kscales(params[2], params[3], out + 4);
    pack_ones<4>(codes, out + 16);
    pack_nibbles<32>(codes, out + 48);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    std::memcpy(params[1], in + 2, 2);
    unpack_kscales(in + 4, params[2], params[3]);
    unpack_nibbles<32>(in + 48, codes);
    unpack_ones<4>(in + 16, codes);
  }
};

}  // namespace

const Layout& layout_gguf_q5_k() {
  static const GgufBlockLayout<Q5_K> layout("gguf-q5_k", "Q5_K", two_level_affine(5, 32, 6));
  return layout;
}

}  // namespace kerf
