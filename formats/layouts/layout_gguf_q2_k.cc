// GGUF Q2_K: 256 weights in 84 bytes: 16 bytes with a 4-bit scale below a 4-bit minimum, 64 bytes of codes, halves d
// and dmin. Source: block_q2_K in ggml-common.h.
#include "formats/layouts/gguf_blocks.h"
#include "formats/layouts/gguf_planes.h"

namespace kerf {
namespace {

struct Q2_K {
  static constexpr int64_t kWeights = 256, kBytes = 84;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    for (int i = 0; i < 16; ++i) out[i] = params[2][i] | params[3][i] << 4;
    pack_twos<0>(codes, out + 16);
    std::memcpy(out + 80, params[0], 2);
    std::memcpy(out + 82, params[1], 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    for (int i = 0; i < 16; ++i) {
      params[2][i] = in[i] & std::byte{15};
      params[3][i] = in[i] >> 4;
    }
    std::fill_n(codes, kWeights, uint8_t{0});
    unpack_twos<0>(in + 16, codes);
    std::memcpy(params[0], in + 80, 2);
    std::memcpy(params[1], in + 82, 2);
  }
};

}  // namespace

const Layout& layout_gguf_q2_k() {
  static const GgufBlockLayout<Q2_K> layout("gguf-q2_k", "Q2_K", two_level_affine(2, 16, 4));
  return layout;
}

}  // namespace kerf
