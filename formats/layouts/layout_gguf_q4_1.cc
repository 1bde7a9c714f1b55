// GGUF Q4_1: 32 weights in 20 bytes: halves d and m, nibbles with the halves split; value = d * q + m.
// Source: block_q4_1 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q4_1 {
  static constexpr int64_t kWeights = 32, kBytes = 20;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    std::memcpy(out + 2, params[1], 2);
    pack_nibbles<16, 32>(codes, out + 4);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    std::memcpy(params[1], in + 2, 2);
    unpack_nibbles<16, 32>(in + 4, codes);
  }
};

}  // namespace

const Layout& layout_gguf_q4_1() {
  static const GgufBlockLayout<Q4_1> layout("gguf-q4_1", "Q4_1", affine(4, 32, Dtype::f16));
  return layout;
}

}  // namespace kerf
