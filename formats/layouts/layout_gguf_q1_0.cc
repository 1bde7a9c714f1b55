// GGUF Q1_0: 128 weights in 18 bytes: a half d, bits; value = d where the bit is set, else -d.
// Source: block_q1_0 in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q1_0 {
  static constexpr int64_t kWeights = 128, kBytes = 18;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    pack_bits<0, 128>(codes, out + 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    std::fill_n(codes, kWeights, uint8_t{0});
    unpack_bits<0, 128>(in + 2, codes);
  }
};

}  // namespace

const Layout& layout_gguf_q1_0() {
  static const GgufBlockLayout<Q1_0> layout("gguf-q1_0", "Q1_0", listed("sign", 1, 128, Dtype::f16));
  return layout;
}

}  // namespace kerf
