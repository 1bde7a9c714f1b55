#include "formats/text.h"

#include <fmt/format.h>

#include <cstdint>

namespace kerf {

std::string in_quotes(std::string_view s, size_t limit) {
  std::string out = "'";
  size_t i = 0;
  while (i < s.size() && i < limit) {
    const size_t n = utf8_sequence_at(s, i);
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
