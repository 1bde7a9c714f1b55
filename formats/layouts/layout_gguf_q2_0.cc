// GGUF Q2_0: 64 weights in 18 bytes: a half d, two bits each, the first weight lowest; value = d * (q - 1).
// Source: block_q2_0 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"

namespace kerf {
namespace {

struct Q2_0 {
  static constexpr int64_t kWeights = 64, kBytes = 18;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    for (int i = 0; i < 16; ++i) {
      const uint8_t* c = codes + 4 * i;
      out[2 + i] = static_cast<std::byte>(c[0] | c[1] << 2 | c[2] << 4 | c[3] << 6);
    }
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    for (int i = 0; i < 64; ++i) codes[i] = std::to_integer<uint8_t>(in[2 + i / 4] >> (i % 4 * 2)) & 3;
  }
};

}  // namespace

const Layout& layout_gguf_q2_0() {
  static const GgufBlockLayout<Q2_0> layout("gguf-q2_0", "Q2_0", listed("quaternary", 2, 64, Dtype::f16));
  return layout;
}

}  // namespace kerf
