// compressed-tensors "pack-quantized", symmetric, 4 or 8 bits: unsigned codes q + 2^(bits-1) in int32 words along the
// input, least significant bits first; each row begins a new word and its last word is padded with zero bits.
//   weight_packed I32 [out, ceil(in * bits / 32)], weight_scale [out, groups], weight_shape I64 [2] = out, in
// Source: compressed_tensors, compressors/pack_quantized (the 4- and 8-bit form is the same in all its versions).
#include <cstring>

#include "core/checked.h"
#include "formats/layout.h"

namespace kerf {
namespace {

int64_t words_per_row(int bits, int64_t cols) { return ceil_div(cols * bits, int64_t{32}); }
int64_t groups_per_row(const Scheme& s, int64_t cols) {
  const int64_t group = s.levels[0].block.cols;
  return group == 0 ? 1 : cols / group;
}

class CtPack final : public Layout {
 public:
  std::string_view name() const override { return "ct-pack"; }

  std::vector<Scheme> examples() const override {
    std::vector<Scheme> all;
    for (int bits : {4, 8})
      for (int64_t group : {int64_t{0}, int64_t{4}, int64_t{32}})
        for (Dtype scale : {Dtype::f32, Dtype::f16, Dtype::bf16}) all.push_back(symmetric_int(bits, group, scale));
    return all;
  }

  std::optional<std::string> refuses(const Scheme& s, int64_t, int64_t cols) const override {
    if (s.grid != "int" || s.levels.size() != 1 || (s.bits != 4 && s.bits != 8))
      return fmt::format("pack-quantized holds symmetric integers of 4 or 8 bits here, not {}", describe(s));
    const int64_t group = s.levels[0].block.cols;
    if (group != 0 && cols % group != 0)
      return fmt::format(
          "groups of {} do not divide a row of {} weights; choose a divisor of {} or one scale per channel", group,
          cols, cols);
    return std::nullopt;
  }

  std::vector<LayoutTensor> plan(const Scheme& s, int64_t rows, int64_t cols) const override {
    const int64_t words = words_per_row(s.bits, cols), groups = groups_per_row(s, cols);
    const Dtype scale = s.levels[0].stored;
    const uint64_t packed_row = static_cast<uint64_t>(words) * 4;
    const uint64_t scale_row = static_cast<uint64_t>(bytes_of(scale, groups));
    const int64_t shape[] = {rows, cols};
    std::vector<std::byte> shape_bytes(sizeof shape);
    std::memcpy(shape_bytes.data(), shape, sizeof shape);
    return {{.suffix = "weight_packed",
             .type = "I32",
             .shape = {rows, words},
             .bytes = packed_row * static_cast<uint64_t>(rows),
             .row_bytes = packed_row},
            {.suffix = "weight_scale",
             .type = std::string(name_of(scale)),
             .shape = {rows, groups},
             .bytes = scale_row * static_cast<uint64_t>(rows),
             .row_bytes = scale_row},
            {.suffix = "weight_shape", .type = "I64", .shape = {2}, .bytes = sizeof shape, .constant = shape_bytes}};
  }

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    const int bits = q.scheme.bits;
    const int64_t row_bytes = words_per_row(bits, q.cols) * 4;
    std::vector<std::byte> packed(static_cast<size_t>(q.rows * row_bytes));
    for (int64_t r = 0; r < q.rows; ++r) {
      const uint8_t* codes = q.code_row(r).data();
      std::byte* out = packed.data() + r * row_bytes;
      if (bits == 8) {
        std::memcpy(out, codes, static_cast<size_t>(q.cols));
        continue;
      }
      for (int64_t i = 0; i + 1 < q.cols; i += 2) out[i / 2] = static_cast<std::byte>(codes[i] | (codes[i + 1] << 4));
      if (q.cols % 2) out[q.cols / 2] = static_cast<std::byte>(codes[q.cols - 1]);
    }
    return {std::move(packed), q.params[0].bytes, {}};
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    QuantizedMatrix q = allocate(s, rows, cols);
    const int64_t row_bytes = words_per_row(s.bits, cols) * 4;
    int64_t shape[2] = {0, 0};
    if (tensors.size() != 3 || tensors[0].size() != static_cast<size_t>(rows * row_bytes) ||
        tensors[1].size() != q.params[0].bytes.size() || tensors[2].size() != sizeof shape)
      fail(ErrorKind::bad_input, "the packed tensors are not as long as a [{}, {}] matrix of {} needs", rows, cols,
           describe(s));
    std::memcpy(shape, tensors[2].data(), sizeof shape);
    if (shape[0] != rows || shape[1] != cols)
      fail(ErrorKind::bad_input, "weight_shape says [{}, {}] where [{}, {}] was expected", shape[0], shape[1], rows,
           cols);
    std::memcpy(q.params[0].bytes.data(), tensors[1].data(), tensors[1].size());
    const int per_byte = 8 / s.bits;
    const unsigned mask = (1u << s.bits) - 1;
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* in = tensors[0].data() + r * row_bytes;
      for (int64_t i = 0; i < cols; ++i) {
        const unsigned shift = static_cast<unsigned>(i % per_byte * s.bits);
        q.codes[static_cast<size_t>(r * cols + i)] =
            static_cast<uint8_t>(std::to_integer<unsigned>(in[i / per_byte]) >> shift & mask);
      }
    }
    return q;
  }
};

}  // namespace

const Layout& layout_ct_pack() {
  static const CtPack layout;
  return layout;
}

}  // namespace kerf
