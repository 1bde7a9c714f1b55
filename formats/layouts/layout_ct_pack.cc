// compressed-tensors "pack-quantized", 2 to 8 bits: unsigned codes q + 2^(bits-1) as a dense stream (bitstream.h) along
// the input; each row begins a new word and its last word is padded with zero bits.
//   weight_packed I32 [out, ceil(in * bits / 32)], weight_scale [out, groups], weight_shape I64 [2] = out, in
//   asymmetric: weight_zero_point I32 [ceil(out * bits / 32), groups], a stream along the outputs
// Releases of compressed-tensors up to 0.16.0 left the bits of a word free that no whole code fits in: with 3, 5, 6 and
// 7 bits their files are others than these.
// Source: compressed_tensors, compressors/pack_quantized.
#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "formats/layouts/bitstream.h"
#include "formats/layouts/layout.h"

namespace kerf {
namespace {

bool symmetric(const Scheme& s) { return s.levels.size() == 1; }

int64_t groups_per_row(const Scheme& s, int64_t cols) {
  const int64_t group = s.levels[0].block.cols;
  return group == 0 ? 1 : cols / group;
}

class CtPack final : public Layout {
 public:
  std::string_view name() const override { return "ct-pack"; }

  std::vector<Scheme> examples() const override {
    std::vector<Scheme> all;
    for (int bits = 2; bits <= 8; ++bits)
      for (int64_t group : {int64_t{0}, int64_t{4}, int64_t{32}})
        for (Dtype scale : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
          all.push_back(symmetric_int(bits, group, scale));
          all.push_back(asymmetric_int(bits, group, scale));
        }
    return all;
  }

  std::optional<std::string> refuses(const Scheme& s, int64_t, int64_t cols) const override {
    if (s.grid != "int" || s.bits < 2 || s.bits > 8 || s.levels.empty() || s.levels.size() > 2)
      return fmt::format("pack-quantized holds integers of 2 to 8 bits, not {}", describe(s));
    const int64_t group = s.levels[0].block.cols;
    if (group != 0 && cols % group != 0)
      return fmt::format(
          "groups of {} do not divide a row of {} weights; choose a divisor of {} or one scale per channel", group,
          cols, cols);
    return std::nullopt;
  }

  std::vector<LayoutTensor> plan(const Scheme& s, int64_t rows, int64_t cols) const override {
    const int64_t words = stream_words(cols, s.bits), groups = groups_per_row(s, cols);
    const Dtype scale = s.levels[0].stored;
    const int64_t shape[] = {rows, cols};
    std::vector<std::byte> shape_bytes(sizeof shape);
    std::memcpy(shape_bytes.data(), shape, sizeof shape);
    std::vector<LayoutTensor> tensors = {
        rows_tensor(s, "weight_packed", "I32", rows, words, words * 4),
        rows_tensor(s, "weight_scale", name_of(scale), rows, groups, bytes_of(scale, groups)),
        {.suffix = "weight_shape", .type = "I64", .shape = {2}, .bytes = sizeof shape, .constant = shape_bytes}};
    if (!symmetric(s)) {
      const int64_t height = stream_words(rows, s.bits);
      tensors.push_back({.suffix = "weight_zero_point",
                         .type = "I32",
                         .shape = {height, groups},
                         .bytes = static_cast<uint64_t>(height * groups) * 4});
    }
    return tensors;
  }

  bool packs_whole_matrices(const Scheme& s) const override { return !symmetric(s); }  // zero points share words

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    const int bits = q.scheme.bits;
    const int64_t words = stream_words(q.cols, bits), groups = q.params[0].cols;
    std::vector<std::byte> packed(static_cast<size_t>(q.rows * words) * 4);
    std::vector<uint32_t> row(static_cast<size_t>(words));
    for (int64_t r = 0; r < q.rows; ++r) {
      pack_stream(q.code_row(r).data(), q.cols, bits, row.data());
      std::memcpy(packed.data() + r * words * 4, row.data(), row.size() * 4);
    }
    std::vector<std::vector<std::byte>> parts = {std::move(packed), q.params[0].bytes, {}};
    if (!symmetric(q.scheme)) {
      std::vector<std::byte> by_group(q.params[1].bytes.size());
      transpose_bytes(q.params[1].bytes.data(), q.rows, groups, 1, by_group.data());
      parts.emplace_back(static_cast<size_t>(stream_words(q.rows, bits) * groups) * 4);
      pack_columns(reinterpret_cast<const uint8_t*>(by_group.data()), groups, q.rows, bits, parts.back().data());
    }
    return parts;
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    const std::vector<LayoutTensor> expected = expect(s, rows, cols, tensors);
    if (!std::equal(tensors[2].begin(), tensors[2].end(), expected[2].constant.begin()))
      fail(ErrorKind::bad_input, "weight_shape does not say [{}, {}]", rows, cols);
    QuantizedMatrix q = allocate(s, rows, cols);
    const int64_t words = stream_words(cols, s.bits), groups = q.params[0].cols;
    std::memcpy(q.params[0].bytes.data(), tensors[1].data(), tensors[1].size());
    std::vector<uint32_t> row(static_cast<size_t>(words));
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(row.data(), tensors[0].data() + r * words * 4, row.size() * 4);
      unpack_stream(row.data(), cols, s.bits, q.code_row(r).data());
    }
    if (!symmetric(s)) {
      std::vector<std::byte> by_group(q.params[1].bytes.size());
      unpack_columns(tensors[3].data(), groups, rows, s.bits, reinterpret_cast<uint8_t*>(by_group.data()));
      transpose_bytes(by_group.data(), groups, rows, 1, q.params[1].bytes.data());
    }
    return q;
  }

 private:
  // Row after row, where rows have bytes of their own.
  LayoutTensor rows_tensor(const Scheme& s, const char* suffix, std::string_view type, int64_t rows, int64_t width,
                           int64_t row_bytes) const {
    return {.suffix = suffix,
            .type = std::string(type),
            .shape = {rows, width},
            .bytes = static_cast<uint64_t>(row_bytes * rows),
            .row_bytes = packs_whole_matrices(s) ? 0 : static_cast<uint64_t>(row_bytes)};
  }
};

}  // namespace

const Layout& layout_ct_pack() {
  static const CtPack layout;
  return layout;
}

}  // namespace kerf
