#include "core/npy.h"

#include <fmt/format.h>

#include <bit>

#include "core/checked.h"

namespace kerf {

std::string npy_header(std::span<const int64_t> shape) {
  static_assert(std::endian::native == std::endian::little);
  std::string dims = fmt::format("{}", fmt::join(shape, ", "));
  if (shape.size() == 1) dims += ',';  // a tuple of one ends in a comma
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dims);
  constexpr size_t kPreamble = 10;  // magic, version and the text's length; values begin at a multiple of 64
  text.resize(round_up<size_t>(kPreamble + text.size() + 1, 64) - kPreamble - 1, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 255);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace kerf
