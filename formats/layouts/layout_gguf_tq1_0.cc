// GGUF TQ1_0: 256 weights in 54 bytes: 48 bytes of five digits and 4 bytes of four, base 3, and a half d; value =
// d * (q - 1). A byte is the fraction of its digits, first digit first, in 256ths rounded up, so that multiplying by 3
// brings the digits out one by one. Its digits are the weights i, i + 32, ... of 32 bytes, i + 16, ... of 16, i + 4,
// ... of 4. Source: block_tq1_0 in ggml-common.h, dequantize_row_tq1_0 in ggml-quants.c.
#include "formats/layouts/gguf_blocks.h"

namespace kerf {
namespace {

struct Run {
  int bytes, digits;
};
constexpr Run kRuns[] = {{32, 5}, {16, 5}, {4, 4}};

struct TQ1_0 {
  static constexpr int64_t kWeights = 256, kBytes = 54;
  static void pack(const uint8_t* codes, const std::byte* const* params, std::byte* out) {
    for (const Run& run : kRuns) {
      for (int i = 0; i < run.bytes; ++i) {
        int digits = 0;
        for (int n = 0; n < 5; ++n) digits = 3 * digits + (n < run.digits ? codes[n * run.bytes + i] : 0);
        *out++ = static_cast<std::byte>((digits * 256 + 242) / 243);
      }
      codes += run.bytes * run.digits;
    }
    std::memcpy(out, params[0], 2);
  }
  static void unpack(const std::byte* in, uint8_t* codes, std::byte* const* params) {
    for (const Run& run : kRuns) {
      for (int i = 0; i < run.bytes; ++i) {
        int fraction = std::to_integer<int>(*in++);
        for (int n = 0; n < run.digits; ++n) {
          codes[n * run.bytes + i] = static_cast<uint8_t>(fraction * 3 >> 8);
          fraction = fraction * 3 & 255;
        }
      }
      codes += run.bytes * run.digits;
    }
    std::memcpy(params[0], in, 2);
  }
};

}  // namespace

const Layout& layout_gguf_tq1_0() {
  static const GgufBlockLayout<TQ1_0> layout("gguf-tq1_0", "TQ1_0", listed("ternary", 2, 256, Dtype::f16));
  return layout;
}

}  // namespace kerf
