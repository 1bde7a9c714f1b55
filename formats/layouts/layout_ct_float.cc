// compressed-tensors "float-quantized" (FP8): one e4m3 code per weight, scales for the whole matrix, per output
// channel, or per block of 128 x 128 whose last ones are cut off by the edges.
//   weight F8_E4M3 [out, in], weight_scale [1], [out, 1] or [ceil(out / 128), ceil(in / 128)]
// Source: compressed_tensors, compressors/naive_quantized; quantization/lifecycle/initialize.py (shapes of scales).
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "formats/layouts/layout.h"

namespace kerf {
namespace {

constexpr Block kTensor{0, 0}, kChannel{1, 0}, kBlock{128, 128};

class CtFloat final : public Layout {
 public:
  std::string_view name() const override { return "ct-float"; }

  std::vector<Scheme> examples() const override {
    std::vector<Scheme> all;
    for (const Block& block : {kChannel, kTensor, kBlock})
      for (Dtype scale : {Dtype::f32, Dtype::f16, Dtype::bf16}) all.push_back(fp8(block, scale));
    return all;
  }

  std::optional<std::string> refuses(const Scheme& s, int64_t, int64_t) const override {
    if (s.grid == "fp8" && s.levels.size() == 1)
      for (const Block& block : {kChannel, kTensor, kBlock})
        if (s.levels[0].block == block) return std::nullopt;
    return fmt::format(
        "float-quantized holds fp8 with a scale per tensor, per channel or per block of 128 x 128 here, not {}",
        describe(s));
  }

  std::vector<LayoutTensor> plan(const Scheme& s, int64_t rows, int64_t cols) const override {
    const Level& scale = s.levels[0];
    std::vector<int64_t> shape = {1};
    if (scale.block == kChannel) shape = {rows, 1};
    if (scale.block == kBlock) shape = {ceil_div(rows, kBlock.rows), ceil_div(cols, kBlock.cols)};
    const auto bytes = static_cast<uint64_t>(bytes_of(scale.stored, checked_elements(shape, "scales")));
    const auto out = static_cast<uint64_t>(rows), in = static_cast<uint64_t>(cols);
    const bool by_row = rows_together(s) == 1;
    return {
        {.suffix = "weight", .type = "F8_E4M3", .shape = {rows, cols}, .bytes = out * in, .row_bytes = by_row ? in : 0},
        {.suffix = "weight_scale",
         .type = std::string(name_of(scale.stored)),
         .shape = shape,
         .bytes = bytes,
         .row_bytes = by_row ? bytes / out : 0}};
  }

  bool packs_whole_matrices(const Scheme& s) const override { return rows_together(s) != 1; }

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    std::vector<std::byte> codes(q.codes.size());
    std::memcpy(codes.data(), q.codes.data(), codes.size());
    return {std::move(codes), q.params[0].bytes};
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    expect(s, rows, cols, tensors);
    QuantizedMatrix q = allocate(s, rows, cols);
    std::memcpy(q.codes.data(), tensors[0].data(), tensors[0].size());
    std::memcpy(q.params[0].bytes.data(), tensors[1].data(), tensors[1].size());
    return q;
  }
};

}  // namespace

const Layout& layout_ct_float() {
  static const CtFloat layout;
  return layout;
}

}  // namespace kerf
