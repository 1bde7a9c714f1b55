// GGUF TQ2_0: 256 weights in 66 bytes: two bits each, a half d; value = d * (q - 1).
// Source: block_tq2_0 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct TQ2_0 {
  static constexpr int64_t kWeights = 256, kBytes = 66;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    pack_twos<0>(codes, out);
    std::memcpy(out + 64, params[0], 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::fill_n(codes, kWeights, uint8_t{0});
    unpack_twos<0>(in, codes);
    std::memcpy(params[0], in + 64, 2);
  }
};

}  // namespace

const Layout& layout_gguf_tq2_0() {
  static const GgufBlockLayout<TQ2_0> layout("gguf-tq2_0", "TQ2_0", listed("ternary", 2, 256, Dtype::f16));
  return layout;
}

}  // namespace kerf
