// GGUF NVFP4: 64 weights in 36 bytes: four E4M3 scales (never negative), E2M1 nibbles by 16 weights with the halves
// split. Source: block_nvfp4 in ggml-common.h, ggml_ue4m3_to_fp32 in ggml-impl.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct NVFP4 {
  static constexpr int64_t kWeights = 64, kBytes = 36;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 4);
    pack_nibbles<8, 64>(codes, out + 4);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 4);
    unpack_nibbles<8, 64>(in + 4, codes);
  }
};

}  // namespace

const Layout& layout_gguf_nvfp4() {
  static const GgufBlockLayout<NVFP4> layout("gguf-nvfp4", "NVFP4", listed("e2m1", 4, 16, Dtype::f8_e4m3));
  return layout;
}

}  // namespace kerf
