// compressed-tensors "int-quantized" (W8A8): one signed byte per weight, one scale per output channel.
//   weight I8 [out, in] = code - 128, weight_scale [out, 1]
// Source: compressed_tensors, compressors/naive_quantized; quantization/lifecycle/initialize.py (shapes of scales).
#include <cstring>

#include "core/error.h"
#include "formats/layouts/layout.h"

namespace kerf {
namespace {

class CtInt final : public Layout {
 public:
  std::string_view name() const override { return "ct-int"; }

  std::vector<Scheme> examples() const override {
    return {symmetric_int(8, 0, Dtype::f32), symmetric_int(8, 0, Dtype::f16), symmetric_int(8, 0, Dtype::bf16)};
  }

  std::optional<std::string> refuses(const Scheme& s, int64_t, int64_t) const override {
    if (s.grid != "int" || s.levels.size() != 1 || s.bits != 8 || s.levels[0].block != Block{1, 0})
      return fmt::format("int-quantized holds symmetric 8-bit integers with one scale per channel here, not {}",
                         describe(s));
    return std::nullopt;
  }

  std::vector<LayoutTensor> plan(const Scheme& s, int64_t rows, int64_t cols) const override {
    const Dtype scale = s.levels[0].stored;
    const auto out = static_cast<uint64_t>(rows), in = static_cast<uint64_t>(cols);
    const auto scale_bytes = static_cast<uint64_t>(bytes_of(scale, 1));
    return {{.suffix = "weight", .type = "I8", .shape = {rows, cols}, .bytes = out * in, .row_bytes = in},
            {.suffix = "weight_scale",
             .type = std::string(name_of(scale)),
             .shape = {rows, 1},
             .bytes = out * scale_bytes,
             .row_bytes = scale_bytes}};
  }

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    std::vector<std::byte> codes(q.codes.size());
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = std::byte{q.codes[i]} ^ std::byte{0x80};
    return {std::move(codes), q.params[0].bytes};
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    expect(s, rows, cols, tensors);
    QuantizedMatrix q = allocate(s, rows, cols);
    for (size_t i = 0; i < q.codes.size(); ++i) q.codes[i] = std::to_integer<uint8_t>(tensors[0][i] ^ std::byte{0x80});
    std::memcpy(q.params[0].bytes.data(), tensors[1].data(), tensors[1].size());
    return q;
  }
};

}  // namespace

const Layout& layout_ct_int() {
  static const CtInt layout;
  return layout;
}

}  // namespace kerf
