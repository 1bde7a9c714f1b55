// GGUF Q8_0: 32 weights in 34 bytes, a half scale and int8 codes; value = d * q.
#include "formats/layouts/gguf_blocks.h"

namespace kerf {
namespace {

struct Q8_0 {
  static constexpr int64_t kWeights = 32, kBytes = 34;
  // Codes are unsigned with 128 as zero; the file's are two's complement: the top bit flips.
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    for (int64_t i = 0; i < kWeights; ++i) out[2 + i] = static_cast<std::byte>(codes[i] ^ 0x80u);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    for (int64_t i = 0; i < kWeights; ++i) codes[i] = static_cast<uint8_t>(std::to_integer<uint8_t>(in[2 + i]) ^ 0x80u);
  }
};

}  // namespace

const Layout& layout_gguf_q8_0() {
  static const GgufBlockLayout<Q8_0> layout("gguf-q8_0", "Q8_0", symmetric_int(8, 32, Dtype::f16));
  return layout;
}

}  // namespace kerf
