// Zero points lie [out, groups] in a QuantizedMatrix and [groups, out] in the file, as scales do.
#include <algorithm>

#include "core/checked.h"
#include "formats/layouts/bitstream.h"
#include "formats/layouts/layout_gptq.h"

namespace kerf {
namespace {

bool symmetric(const Scheme& s) { return s.levels.size() == 1; }

int64_t group_of(const Scheme& s, int64_t cols) { return s.levels[0].block.cols == 0 ? cols : s.levels[0].block.cols; }

LayoutTensor tensor(const char* suffix, Dtype type, int64_t height, int64_t width,
                    std::vector<std::byte> constant = {}) {
  return {.suffix = suffix,
          .type = std::string(name_of(type)),
          .shape = {height, width},
          .bytes = static_cast<uint64_t>(bytes_of(type, height * width)),
          .constant = std::move(constant)};
}

std::vector<std::byte> group_index(int64_t cols, int64_t group) {
  std::vector<std::byte> bytes(static_cast<size_t>(cols) * 4);
  for (int64_t i = 0; i < cols; ++i) {
    const auto g = static_cast<int32_t>(i / group);
    std::memcpy(bytes.data() + i * 4, &g, 4);
  }
  return bytes;
}

}  // namespace

std::vector<Scheme> GptqLayout::examples() const {
  std::vector<Scheme> all;
  for (int bits : {2, 3, 4, 8})
    for (int64_t group : {int64_t{0}, int64_t{4}, int64_t{32}}) {
      all.push_back(symmetric_int(bits, group, Dtype::f16));
      all.push_back(asymmetric_int(bits, group, Dtype::f16, stored_minus()));
    }
  return all;
}

std::optional<std::string> GptqLayout::refuses(const Scheme& s, int64_t rows, int64_t cols) const {
  const bool bits = s.bits == 2 || s.bits == 3 || s.bits == 4 || s.bits == 8;
  if (s.grid != "int" || !bits || s.levels.empty() || s.levels.size() > 2 || s.levels[0].stored != Dtype::f16)
    return fmt::format("GPTQ holds integers of 2, 3, 4 or 8 bits with scales in F16, not {}", describe(s));
  if (!symmetric(s) && s.levels[1].lowest < stored_minus())
    return std::string("GPTQ v1 stores zero points minus one and cannot hold the zero point 0; choose v2");
  const int64_t group = group_of(s, cols);
  if (cols % group != 0)
    return fmt::format(
        "groups of {} do not divide a row of {} weights; choose a divisor of {} or one scale per channel", group, cols,
        cols);
  // Words hold codes of several inputs, and of several outputs' zero points.
  const int64_t whole = s.bits == 3 ? 32 : 32 / s.bits;
  if (rows % whole != 0 || cols % whole != 0)
    return fmt::format("GPTQ of {} bits wants inputs and outputs divisible by {}, not [{}, {}]", s.bits, whole, rows,
                       cols);
  return std::nullopt;
}

std::vector<LayoutTensor> GptqLayout::plan(const Scheme& s, int64_t rows, int64_t cols) const {
  const int64_t group = group_of(s, cols), groups = cols / group;
  std::vector<std::byte> zeros;
  if (symmetric(s)) {
    const auto zero = static_cast<uint8_t>(1 << (s.bits - 1));
    zeros = pack_zeros(std::vector<uint8_t>(static_cast<size_t>(rows * groups), zero), groups, rows, s.bits);
  }
  LayoutTensor index = tensor("g_idx", Dtype::i32, 1, cols, group_index(cols, group));
  index.shape = {cols};
  return {tensor("qweight", Dtype::i32, stream_words(cols, s.bits), rows),
          tensor("qzeros", Dtype::i32, groups, stream_words(rows, s.bits), std::move(zeros)),
          tensor("scales", Dtype::f16, groups, rows), std::move(index)};
}

std::vector<std::byte> GptqLayout::pack_zeros(std::span<const uint8_t> zeros, int64_t groups, int64_t rows,
                                              int bits) const {
  const int64_t words = stream_words(rows, bits);
  std::vector<std::byte> packed(static_cast<size_t>(groups * words) * 4);
  std::vector<uint8_t> of_group(static_cast<size_t>(rows));
  std::vector<uint32_t> stream(static_cast<size_t>(words));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t zero = zeros[static_cast<size_t>(r * groups + g)];
      if (zero < stored_minus())
        fail(ErrorKind::unsupported, "output {} has the zero point 0, which GPTQ v1 cannot store; choose v2", r);
      of_group[static_cast<size_t>(r)] = static_cast<uint8_t>(zero - stored_minus());
    }
    pack_stream(of_group.data(), rows, bits, stream.data());
    std::memcpy(packed.data() + g * words * 4, stream.data(), stream.size() * 4);
  }
  return packed;
}

std::vector<uint8_t> GptqLayout::unpack_zeros(std::span<const std::byte> packed, int64_t groups, int64_t rows,
                                              int bits) const {
  const int64_t words = stream_words(rows, bits);
  std::vector<uint8_t> zeros(static_cast<size_t>(groups * rows)), of_group(static_cast<size_t>(rows));
  std::vector<uint32_t> stream(static_cast<size_t>(words));
  for (int64_t g = 0; g < groups; ++g) {
    std::memcpy(stream.data(), packed.data() + g * words * 4, stream.size() * 4);
    unpack_stream(stream.data(), rows, bits, of_group.data());
    for (int64_t r = 0; r < rows; ++r) {
      const int zero = of_group[static_cast<size_t>(r)] + stored_minus();
      if (zero >= 1 << bits)
        fail(ErrorKind::bad_input, "output {} has a zero point of 0 stored as -1, which readers of GPTQ v1 take apart",
             r);
      zeros[static_cast<size_t>(r * groups + g)] = static_cast<uint8_t>(zero);
    }
  }
  return zeros;
}

std::vector<std::vector<std::byte>> GptqLayout::pack(const QuantizedMatrix& q) const {
  const int bits = q.scheme.bits;
  const int64_t groups = q.params[0].cols;
  std::vector<std::byte> codes(static_cast<size_t>(stream_words(q.cols, bits) * q.rows) * 4);
  pack_columns(q.codes.data(), q.rows, q.cols, bits, codes.data());
  std::vector<std::byte> scales(q.params[0].bytes.size());
  transpose_bytes(q.params[0].bytes.data(), q.rows, groups, 2, scales.data());
  std::vector<std::byte> zeros;
  if (!symmetric(q.scheme)) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(q.params[1].bytes.data());
    zeros = pack_zeros({bytes, q.params[1].bytes.size()}, groups, q.rows, bits);
  }
  return {std::move(codes), std::move(zeros), std::move(scales), {}};
}

QuantizedMatrix GptqLayout::unpack(const Scheme& s, int64_t rows, int64_t cols,
                                   std::span<const std::span<const std::byte>> tensors) const {
  const std::vector<LayoutTensor> expected = expect(s, rows, cols, tensors);
  QuantizedMatrix q = allocate(s, rows, cols);
  const int64_t groups = q.params[0].cols;
  if (!std::equal(tensors[3].begin(), tensors[3].end(), expected[3].constant.begin()))
    fail(ErrorKind::bad_input, "g_idx does not count the inputs up in groups of {}", cols / groups);
  unpack_columns(tensors[0].data(), rows, cols, s.bits, q.codes.data());
  transpose_bytes(tensors[2].data(), groups, rows, 2, q.params[0].bytes.data());
  if (!symmetric(s)) {
    const std::vector<uint8_t> zeros = unpack_zeros(tensors[1], groups, rows, s.bits);
    std::memcpy(q.params[1].bytes.data(), zeros.data(), zeros.size());
  } else if (!std::equal(tensors[1].begin(), tensors[1].end(), expected[1].constant.begin())) {
    fail(ErrorKind::bad_input, "the zero points of a symmetric matrix are not all {}", 1 << (s.bits - 1));
  }
  return q;
}

}  // namespace kerf
