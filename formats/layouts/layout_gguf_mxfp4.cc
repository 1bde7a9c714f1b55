// GGUF MXFP4: 32 weights in 17 bytes: an E8M0 scale, E2M1 nibbles with the halves split.
// Source: block_mxfp4 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct MXFP4 {
  static constexpr int64_t kWeights = 32, kBytes = 17;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    out[0] = params[0][0];
    pack_nibbles<16, 32>(codes, out + 1);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    params[0][0] = in[0];
    unpack_nibbles<16, 32>(in + 1, codes);
  }
};

}  // namespace

const Layout& layout_gguf_mxfp4() {
  static const GgufBlockLayout<MXFP4> layout("gguf-mxfp4", "MXFP4", listed("e2m1", 4, 32, Dtype::f8_e8m0));
  return layout;
}

}  // namespace kerf
