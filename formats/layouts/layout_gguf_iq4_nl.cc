// GGUF IQ4_NL: 32 weights in 18 bytes: a half d, nibbles with the halves split; value = d * number[q].
// Source: block_iq4_nl in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct IQ4_NL {
  static constexpr int64_t kWeights = 32, kBytes = 18;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    pack_nibbles<16, 32>(codes, out + 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    unpack_nibbles<16, 32>(in + 2, codes);
  }
};

}  // namespace

const Layout& layout_gguf_iq4_nl() {
  static const GgufBlockLayout<IQ4_NL> layout("gguf-iq4_nl", "IQ4_NL", listed("iq4", 4, 32, Dtype::f16));
  return layout;
}

}  // namespace kerf
