// All on UTF-8 as it stands; only case and quoting look at what a character is.
#include "model/chat/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

#include "model/text/unicode.h"

namespace kerf::jinja {
namespace {

// Line ends of str.splitlines: LF, VT, FF, CR, FS, GS, RS, NEL, LINE and PARAGRAPH SEPARATOR.
bool ends_line(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

size_t last_character(std::string_view s) {
  size_t i = s.size() - 1;
  while (i > 0 && (static_cast<unsigned char>(s[i]) & 0xC0) == 0x80) --i;
  return i;
}

std::vector<std::string_view> split_at_spaces(std::string_view s, int64_t most) {
  std::vector<std::string_view> parts;
  s = strip(s, std::nullopt, Ends::left);
  while (!s.empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(s);
      break;
    }
    size_t end = 0;
    while (end < s.size()) {
      const Utf8Char c = decode_utf8(s.data() + end);
      if (is_space(c.code)) break;
      end += c.bytes;
    }
    parts.push_back(s.substr(0, end));
    s = strip(s.substr(end), std::nullopt, Ends::left);
  }
  return parts;
}

std::vector<std::string_view> split_at_spaces_from_right(std::string_view s, int64_t most) {
  std::vector<std::string_view> parts;
  s = strip(s, std::nullopt, Ends::right);
  while (!s.empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(s);
      break;
    }
    size_t begin = s.size();
    while (begin > 0) {
      const size_t at = last_character(s.substr(0, begin));
      if (is_space(decode_utf8(s.data() + at).code)) break;
      begin = at;
    }
    parts.push_back(s.substr(begin));
    s = strip(s.substr(0, begin), std::nullopt, Ends::right);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

// Code points whose upper, lower or title form in SpecialCasing.txt has several characters, and the sigma whose small
// form depends on its place.
bool has_special_case(uint32_t c) {
  static constexpr uint32_t kSingle[] = {0xDF, 0x130, 0x149, 0x1F0, 0x390, 0x3A3, 0x3B0, 0x587};
  return std::find(std::begin(kSingle), std::end(kSingle), c) != std::end(kSingle) || (c >= 0x1E96 && c <= 0x1E9A) ||
         (c >= 0x1F50 && c <= 0x1F56) || (c >= 0x1F80 && c <= 0x1FFC) || (c >= 0xFB00 && c <= 0xFB17);
}

uint32_t lower(uint32_t c) { return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
uint32_t upper(uint32_t c) { return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
uint32_t title(uint32_t c) { return static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

bool is_printable(uint32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

}  // namespace

bool is_space(uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  return (char_classes()[code] & kSpaceClass) != 0;
}

int64_t count_characters(std::string_view s) {
  return std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t byte_offset(std::string_view s, int64_t index) {
  size_t at = 0;
  for (; index > 0 && at < s.size(); --index) at += decode_utf8(s.data() + at).bytes;
  return at;
}

std::string_view strip(std::string_view s, std::optional<std::string_view> chars, Ends ends) {
  const auto goes = [&](std::string_view character) {
    if (!chars) return is_space(decode_utf8(character.data()).code);
    return chars->find(character) != std::string_view::npos;  // characters of UTF-8 cannot match across borders
  };
  while (ends != Ends::right && !s.empty()) {
    const size_t n = decode_utf8(s.data()).bytes;
    if (!goes(s.substr(0, n))) break;
    s.remove_prefix(n);
  }
  while (ends != Ends::left && !s.empty()) {
    const size_t at = last_character(s);
    if (!goes(s.substr(at))) break;
    s.remove_suffix(s.size() - at);
  }
  return s;
}

std::vector<std::string_view> split(std::string_view s, std::optional<std::string_view> separator, int64_t most,
                                    bool from_right) {
  if (!separator) return from_right ? split_at_spaces_from_right(s, most) : split_at_spaces(s, most);
  std::vector<std::string_view> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = from_right ? s.rfind(*separator) : s.find(*separator);
    if (at == std::string_view::npos) break;
    parts.push_back(from_right ? s.substr(at + separator->size()) : s.substr(0, at));
    s = from_right ? s.substr(0, at) : s.substr(at + separator->size());
  }
  parts.push_back(s);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    const Utf8Char c = decode_utf8(s.data() + i);
    size_t next = i + c.bytes;
    if (ends_line(c.code)) {
      if (c.code == '\r' && next < s.size() && s[next] == '\n') ++next;
      lines.push_back(s.substr(begin, (keep_ends ? next : i) - begin));
      begin = next;
    }
    i = next;
  }
  if (begin < s.size()) lines.push_back(s.substr(begin));
  return lines;
}

std::string replace(std::string_view s, std::string_view old, std::string_view with, int64_t most) {
  std::string out;
  int64_t done = 0;
  size_t at = 0;
  if (old.empty()) {
    for (; most < 0 || done < most; ++done) {
      out += with;
      if (at == s.size()) return out;
      const size_t n = decode_utf8(s.data() + at).bytes;
      out += s.substr(at, n);
      at += n;
    }
  }
  while (!old.empty() && (most < 0 || done < most)) {
    const size_t found = s.find(old, at);
    if (found == std::string_view::npos) break;
    out += s.substr(at, found - at);
    out += with;
    at = found + old.size();
    ++done;
  }
  out += s.substr(at);
  return out;
}

int64_t count(std::string_view s, std::string_view part) {
  if (part.empty()) return count_characters(s) + 1;
  int64_t n = 0;
  for (size_t at = s.find(part); at != std::string_view::npos; at = s.find(part, at + part.size())) ++n;
  return n;
}

std::optional<std::string> change_case(std::string_view s, Case wanted) {
  std::string out;
  out.reserve(s.size());
  bool in_word = false;  // title: behind a cased letter; capitalize: behind the first character
  for (size_t i = 0; i < s.size();) {
    const Utf8Char c = decode_utf8(s.data() + i);
    i += c.bytes;
    if (has_special_case(c.code)) return std::nullopt;
    const bool first = !in_word;
    if (wanted == Case::upper)
      append_utf8(out, upper(c.code));
    else if (wanted == Case::lower || !first)
      append_utf8(out, lower(c.code));
    else
      append_utf8(out, title(c.code));
    const bool cased = lower(c.code) != c.code || upper(c.code) != c.code;
    in_word = wanted == Case::capitalize || cased;
  }
  return out;
}

std::string quoted(std::string_view s) {
  const bool has_single = s.find('\'') != std::string_view::npos, has_double = s.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < s.size();) {
    const Utf8Char c = decode_utf8(s.data() + i);
    if (c.code == '\\' || c.code == static_cast<unsigned char>(quote))
      out += {'\\', static_cast<char>(c.code)};
    else if (c.code == '\n')
      out += "\\n";
    else if (c.code == '\r')
      out += "\\r";
    else if (c.code == '\t')
      out += "\\t";
    else if (is_printable(c.code))
      out += s.substr(i, c.bytes);
    else if (c.code < 0x100)
      out += fmt::format("\\x{:02x}", c.code);
    else if (c.code < 0x10000)
      out += fmt::format("\\u{:04x}", c.code);
    else
      out += fmt::format("\\U{:08x}", c.code);
    i += c.bytes;
  }
  out += quote;
  return out;
}

}  // namespace kerf::jinja
