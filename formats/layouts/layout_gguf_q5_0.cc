// GGUF Q5_0: 32 weights in 22 bytes: a half d, the fifth bits (bit j for weight j), nibbles with the halves split;
// value = d * (q - 16).
// Source: block_q5_0 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q5_0 {
  static constexpr int64_t kWeights = 32, kBytes = 22;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    pack_bits<4, 32>(codes, out + 2);
    pack_nibbles<16, 32>(codes, out + 6);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    unpack_nibbles<16, 32>(in + 6, codes);
    unpack_bits<4, 32>(in + 2, codes);
  }
};

}  // namespace

const Layout& layout_gguf_q5_0() {
  static const GgufBlockLayout<Q5_0> layout("gguf-q5_0", "Q5_0", symmetric_int(5, 32, Dtype::f16));
  return layout;
}

}  // namespace kerf
