// AWQ, version "gemm": 4 bits, always with zero points (8 everywhere for a symmetric matrix).
//   qweight I32 [in, out / 8], qzeros I32 [groups, out / 8], scales F16 [groups, out]; value = scale * (code - zero)
// Eight outputs lie in one word: nibble i, counted from the least significant, belongs to output kOutput[i] of the
// eight. Source: AutoAWQ, awq/modules/linear/gemm.py and awq/utils/packing_utils.py.
#include <algorithm>

#include "core/checked.h"
#include "formats/layouts/bitstream.h"
#include "formats/layouts/layout.h"

namespace kerf {
namespace {

constexpr int kOutput[8] = {0, 2, 4, 6, 1, 3, 5, 7};

bool symmetric(const Scheme& s) { return s.levels.size() == 1; }
int64_t group_of(const Scheme& s, int64_t cols) { return s.levels[0].block.cols == 0 ? cols : s.levels[0].block.cols; }

// values [rows, height], one byte each, to words [height, rows / 8].
std::vector<std::byte> pack_outputs(const uint8_t* values, int64_t rows, int64_t height) {
  std::vector<std::byte> words(static_cast<size_t>(height * rows / 2));
  for (int64_t r = 0; r < rows; r += 8)
    for (int64_t i = 0; i < height; ++i) {
      uint32_t word = 0;
      for (int n = 0; n < 8; ++n) word |= static_cast<uint32_t>(values[(r + kOutput[n]) * height + i]) << (4 * n);
      std::memcpy(words.data() + (i * rows + r) / 2, &word, 4);
    }
  return words;
}

void unpack_outputs(const std::byte* words, int64_t rows, int64_t height, uint8_t* values) {
  for (int64_t r = 0; r < rows; r += 8)
    for (int64_t i = 0; i < height; ++i) {
      uint32_t word;
      std::memcpy(&word, words + (i * rows + r) / 2, 4);
      for (int n = 0; n < 8; ++n) values[(r + kOutput[n]) * height + i] = static_cast<uint8_t>(word >> (4 * n) & 15);
    }
}

LayoutTensor tensor(const char* suffix, Dtype type, int64_t height, int64_t width) {
  return {.suffix = suffix,
          .type = std::string(name_of(type)),
          .shape = {height, width},
          .bytes = static_cast<uint64_t>(bytes_of(type, height * width))};
}

class Awq final : public Layout {
 public:
  std::string_view name() const override { return "awq"; }

  std::vector<Scheme> examples() const override {
    std::vector<Scheme> all;
    for (int64_t group : {int64_t{0}, int64_t{4}, int64_t{32}}) {
      all.push_back(symmetric_int(4, group, Dtype::f16));
      all.push_back(asymmetric_int(4, group, Dtype::f16));
    }
    return all;
  }

  std::optional<std::string> refuses(const Scheme& s, int64_t rows, int64_t cols) const override {
    if (s.grid != "int" || s.bits != 4 || s.levels.empty() || s.levels.size() > 2 || s.levels[0].stored != Dtype::f16)
      return fmt::format("AWQ holds integers of 4 bits with scales in F16, not {}", describe(s));
    const int64_t group = group_of(s, cols);
    if (cols % group != 0)
      return fmt::format(
          "groups of {} do not divide a row of {} weights; choose a divisor of {} or one scale per channel", group,
          cols, cols);
    if (rows % 8 != 0) return fmt::format("AWQ packs 8 outputs into a word, and {} do not divide", rows);
    return std::nullopt;
  }

  std::vector<LayoutTensor> plan(const Scheme& s, int64_t rows, int64_t cols) const override {
    const int64_t groups = cols / group_of(s, cols);
    LayoutTensor zeros = tensor("qzeros", Dtype::i32, groups, rows / 8);
    if (symmetric(s)) zeros.constant.assign(zeros.bytes, std::byte{0x88});
    return {tensor("qweight", Dtype::i32, cols, rows / 8), std::move(zeros),
            tensor("scales", Dtype::f16, groups, rows)};
  }

  bool packs_whole_matrices(const Scheme&) const override { return true; }

  std::vector<std::vector<std::byte>> pack(const QuantizedMatrix& q) const override {
    const int64_t groups = q.params[0].cols;
    std::vector<std::byte> scales(q.params[0].bytes.size()), zeros;
    transpose_bytes(q.params[0].bytes.data(), q.rows, groups, 2, scales.data());
    if (!symmetric(q.scheme))
      zeros = pack_outputs(reinterpret_cast<const uint8_t*>(q.params[1].bytes.data()), q.rows, groups);
    return {pack_outputs(q.codes.data(), q.rows, q.cols), std::move(zeros), std::move(scales)};
  }

  QuantizedMatrix unpack(const Scheme& s, int64_t rows, int64_t cols,
                         std::span<const std::span<const std::byte>> tensors) const override {
    const std::vector<LayoutTensor> expected = expect(s, rows, cols, tensors);
    QuantizedMatrix q = allocate(s, rows, cols);
    const int64_t groups = q.params[0].cols;
    unpack_outputs(tensors[0].data(), rows, cols, q.codes.data());
    transpose_bytes(tensors[2].data(), groups, rows, 2, q.params[0].bytes.data());
    if (!symmetric(s))
      unpack_outputs(tensors[1].data(), rows, groups, reinterpret_cast<uint8_t*>(q.params[1].bytes.data()));
    else if (!std::equal(tensors[1].begin(), tensors[1].end(), expected[1].constant.begin()))
      fail(ErrorKind::bad_input, "the zero points of a symmetric matrix are not all 8");
    return q;
  }
};

}  // namespace

const Layout& layout_awq() {
  static const Awq layout;
  return layout;
}

}  // namespace kerf
