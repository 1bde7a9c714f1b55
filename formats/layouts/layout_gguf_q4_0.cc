// GGUF Q4_0: 32 weights in 18 bytes, a half scale and nibbles with the halves split: byte j holds weight j in its low
// and weight j + 16 in its high nibble; value = d * (q - 8).
#include "formats/layouts/gguf_blocks.h"

namespace kerf {
namespace {

struct Q4_0 {
  static constexpr int64_t kWeights = 32, kBytes = 18;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    std::memcpy(out, params[0], 2);
    for (int64_t j = 0; j < 16; j += 8) {  // eight bytes of low and eight of high nibbles at once
      uint64_t low, high;
      std::memcpy(&low, codes + j, 8);
      std::memcpy(&high, codes + 16 + j, 8);
      low |= high << 4;
      std::memcpy(out + 2 + j, &low, 8);
    }
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    std::memcpy(params[0], in, 2);
    for (int64_t j = 0; j < 16; ++j) {
      const uint8_t b = std::to_integer<uint8_t>(in[2 + j]);
      codes[j] = b & 15;
      codes[j + 16] = static_cast<uint8_t>(b >> 4);
    }
  }
};

}  // namespace

const Layout& layout_gguf_q4_0() {
  static const GgufBlockLayout<Q4_0> layout("gguf-q4_0", "Q4_0", symmetric_int(4, 32, Dtype::f16));
  return layout;
}

}  // namespace kerf
