// A small table-free walk over lead bytes.
#include "formats/text.h"

#include <fmt/format.h>

#include <cstdint>

namespace kerf {
namespace {

// Length of the well-formed sequence at s[i], 0 when there is none.
size_t sequence_at(std::string_view s, size_t i) {
  const auto byte = [&](size_t k) -> uint8_t { return i + k < s.size() ? static_cast<uint8_t>(s[i + k]) : uint8_t{0}; };
  const auto tail = [&](size_t k) { return (byte(k) & 0xC0) == 0x80; };
  const uint8_t lead = byte(0), second = byte(1);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && second < 0xA0, surrogate = lead == 0xED && second > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && second < 0x90, past_end = lead == 0xF4 && second > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !past_end ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const size_t n = sequence_at(s, i);
    if (n == 0) return i;
    i += n;
  }
  return std::nullopt;
}

std::string in_quotes(std::string_view s, size_t limit) {
  std::string out = "'";
  size_t i = 0;
  while (i < s.size() && i < limit) {
    const size_t n = sequence_at(s, i);
    const uint8_t lead = static_cast<uint8_t>(s[i]);
    if (n == 0 || lead < 0x20 || lead == 0x7F) {
      out += fmt::format("\\x{:02x}", lead);
      ++i;
    } else {
      out += s.substr(i, n);
      i += n;
    }
  }
  if (i < s.size()) out += fmt::format("... ({} bytes)", s.size());
  return out + "'";
}

}  // namespace kerf
