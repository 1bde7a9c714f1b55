#include "grids/scheme.h"

#include <algorithm>

#include "core/checked.h"
#include "grids/quantized_matrix.h"

namespace kerf {
namespace {

int64_t extent(int64_t block, int64_t whole) { return block == 0 ? whole : block; }

std::string text_of(const Block& b) {
  if (b.rows == 1) return b.cols == 0 ? "channel" : fmt::format("g{}", b.cols);
  if (b.rows == 0 && b.cols == 0) return "tensor";
  return fmt::format("{}x{}", b.rows, b.cols);
}

}  // namespace

Scheme symmetric_int(int bits, int64_t group, Dtype scale) {
  return {.grid = "int", .bits = bits, .levels = {{.block = {1, group}, .stored = scale}}};
}

Scheme asymmetric_int(int bits, int64_t group, Dtype scale, uint8_t lowest) {
  Scheme s = symmetric_int(bits, group, scale);
  // A zero point is stored with as many bits as a code.
  s.levels.push_back({.block = {1, group}, .stored = Dtype::u8, .offset = true, .lowest = lowest, .bits = bits});
  return s;
}

Scheme two_level_affine(int bits, int64_t sub, int sub_bits) {
  constexpr Block kSuper = {1, 256};
  return {.grid = "kquant",
          .bits = bits,
          .levels = {{.block = kSuper},
                     {.block = kSuper, .offset = true},
                     {.block = {1, sub}, .stored = Dtype::u8, .bits = sub_bits},
                     {.block = {1, sub}, .stored = Dtype::u8, .offset = true, .bits = sub_bits}}};
}

Scheme codebook_words(std::string_view grid, int bits, int codeword, int64_t sub, int sub_bits) {
  return {.grid = std::string(grid),
          .bits = bits,
          .codeword = codeword,
          .levels = {{.block = {1, 256}}, {.block = {1, sub}, .stored = Dtype::u8, .bits = sub_bits}}};
}

Scheme affine(int bits, int64_t group, Dtype stored) {
  return {.grid = "affine",
          .bits = bits,
          .levels = {{.block = {1, group}, .stored = stored}, {.block = {1, group}, .stored = stored, .offset = true}}};
}

Scheme listed(std::string_view grid, int bits, int64_t group, Dtype scale) {
  return {.grid = std::string(grid), .bits = bits, .levels = {{.block = {1, group}, .stored = scale}}};
}

Scheme two_level_symmetric(int bits, int64_t sub, int sub_bits, std::string_view grid) {
  return {.grid = std::string(grid),
          .bits = bits,
          .levels = {{.block = {1, 256}}, {.block = {1, sub}, .stored = Dtype::i8, .bits = sub_bits}}};
}

Scheme fp8(Block block, Dtype scale) {
  return {.grid = "fp8", .bits = 8, .levels = {{.block = block, .stored = scale}}};
}

int stored_bits(const Level& level) { return level.bits ? level.bits : bits_of(level.stored); }

bool adds_offset(const Scheme& s) {
  for (const Level& level : s.levels)
    if (level.offset && level.stored != Dtype::u8) return true;
  return false;
}

int64_t rows_together(const Scheme& s) {
  int64_t most = 1;
  for (const Level& level : s.levels) {
    if (level.block.rows == 0) return 0;
    most = std::max(most, level.block.rows);
  }
  return most;
}

std::string describe(const Scheme& s) {
  if (s.levels.size() >= 2 && s.levels.front().block != s.levels.back().block)
    return fmt::format("{}{}{} {} {}-bit scales", s.grid, s.bits, adds_offset(s) ? " asymmetric" : "",
                       text_of(s.levels.back().block), stored_bits(s.levels.back()));
  std::string text = s.grid == "fp8" ? s.grid : fmt::format("{}{}", s.grid, s.bits);
  for (const Level& level : s.levels) {
    if (level.offset) {
      text += " asymmetric";
      if (level.lowest > 0) text += fmt::format(" (zero points from {})", level.lowest);
      continue;
    }
    text += fmt::format(" {} {}", text_of(level.block), name_of(level.stored));
  }
  return text;
}

QuantizedMatrix allocate(const Scheme& s, int64_t rows, int64_t cols) {
  QuantizedMatrix q{.scheme = s, .rows = rows, .cols = cols};
  if (cols % s.codeword != 0)
    fail(ErrorKind::unsupported, "{} columns cannot be cut into words of {} weights", cols, s.codeword);
  q.codes.resize(static_cast<size_t>(rows * cols));
  for (const Level& level : s.levels) {
    const int64_t br = extent(level.block.rows, rows), bc = extent(level.block.cols, cols);
    if (level.block.rows == 1 && cols % bc != 0)
      fail(ErrorKind::unsupported, "groups of {} do not divide a row of {} weights; choose a divisor of {}", bc, cols,
           cols);
    ParamArray p{.stored = level.stored, .rows = ceil_div(rows, br), .cols = ceil_div(cols, bc)};
    p.bytes.resize(static_cast<size_t>(bytes_of(p.stored, p.rows * p.cols)));
    q.params.push_back(std::move(p));
  }
  return q;
}

QuantizedMatrix rows_of(const QuantizedMatrix& q, int64_t begin, int64_t end) {
  QuantizedMatrix part{.scheme = q.scheme, .rows = end - begin, .cols = q.cols};
  part.codes.assign(q.codes.begin() + begin * q.cols, q.codes.begin() + end * q.cols);
  if (q.mask) part.mask = Mask{{q.mask->zero.begin() + begin * q.cols, q.mask->zero.begin() + end * q.cols}};
  for (size_t i = 0; i < q.params.size(); ++i) {
    const ParamArray& from = q.params[i];
    const int64_t rows = extent(q.scheme.levels[i].block.rows, q.rows);
    const bool all = q.scheme.levels[i].block.rows == 0;
    const int64_t first = all ? 0 : begin / rows, last = all ? 1 : ceil_div(end, rows);
    const int64_t row_bytes = bytes_of(from.stored, from.cols);
    part.params.push_back({.stored = from.stored, .rows = last - first, .cols = from.cols});
    part.params.back().bytes.assign(from.bytes.begin() + first * row_bytes, from.bytes.begin() + last * row_bytes);
  }
  return part;
}

bool has_separate_rows(const Scheme& s) {
  return std::all_of(s.levels.begin(), s.levels.end(), [](const Level& level) { return level.block.rows <= 1; });
}

QuantizedMatrix rows_in(const QuantizedMatrix& q, std::span<const int64_t> order) {
  QuantizedMatrix p = q;
  const auto take = [&](const auto& from, auto& to, int64_t width) {
    for (size_t k = 0; k < order.size(); ++k)
      std::copy_n(from.begin() + order[k] * width, width, to.begin() + static_cast<int64_t>(k) * width);
  };
  take(q.codes, p.codes, q.cols);
  if (q.mask) take(q.mask->zero, p.mask->zero, q.cols);
  for (size_t i = 0; i < q.params.size(); ++i)
    if (q.scheme.levels[i].block.rows == 1)
      take(q.params[i].bytes, p.params[i].bytes, bytes_of(q.params[i].stored, q.params[i].cols));
  return p;
}

void set_parameters(QuantizedMatrix& q, int64_t row, int64_t col, const QuantizedMatrix& part) {
  for (size_t i = 0; i < q.params.size(); ++i) {
    const ParamArray& from = part.params[i];
    ParamArray& to = q.params[i];
    const int64_t first = col / extent(q.scheme.levels[i].block.cols, q.cols);
    const int64_t bytes = bytes_of(from.stored, from.cols);
    for (int64_t r = 0; r < from.rows; ++r)
      std::copy_n(from.bytes.begin() + r * bytes, bytes,
                  to.bytes.begin() + bytes_of(to.stored, (row + r) * to.cols + first));
  }
}

float ParamArray::get(int64_t r, int64_t c) const {
  const size_t size = static_cast<size_t>(bits_of(stored) / 8);
  float x;
  to_f32(stored, std::span(bytes).subspan(static_cast<size_t>(r * cols + c) * size, size), {&x, 1});
  return x;
}

void ParamArray::set(int64_t r, int64_t c, float x) {
  const size_t size = static_cast<size_t>(bits_of(stored) / 8);
  const auto at = std::span(bytes).subspan(static_cast<size_t>(r * cols + c) * size, size);
  if (stored == Dtype::u8 || stored == Dtype::i8)
    at[0] = static_cast<std::byte>(static_cast<int>(x));
  else
    from_f32(stored, {&x, 1}, at);
}

}  // namespace kerf
