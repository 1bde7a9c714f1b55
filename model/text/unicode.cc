// The tables are runs, spread out once into one byte per code point. NFC touches only the stretches where it can change
// anything: a character that may join to its right, then characters that may join to their left, move or decompose.
#include "model/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/utf8.h"

namespace kerf {
namespace {

constexpr uint32_t kCodePoints = 0x110000;

std::vector<uint8_t> spread() {
  std::vector<uint8_t> classes(kCodePoints, 0);
  for (size_t r = 0; r < unicode_tables::run_count; ++r) {
    const unicode_tables::Runs& runs = unicode_tables::runs[r];
    uint32_t at = 0;
    for (size_t i = 0; i + 1 < runs.gaps_and_lengths.size(); i += 2) {
      at += runs.gaps_and_lengths[i];
      for (uint32_t n = runs.gaps_and_lengths[i + 1]; n > 0; --n, ++at) {
        classes[at] = static_cast<uint8_t>(classes[at] | runs.classes);
      }
    }
  }
  return classes;
}

struct Sequence {
  size_t good;  // bytes of a well-formed character, or 0
  size_t bad;   // otherwise: bytes of the maximal ill-formed part
};

// Bounds of the second byte are what excludes overlong forms, surrogates and the range past 0x10FFFF.
Sequence sequence_at(std::string_view s, size_t at) {
  const auto byte = [s](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned b = byte(at);
  if (b < 0x80) return {1, 0};
  size_t length = 0;
  unsigned low = 0x80, high = 0xBF;
  if (b >= 0xC2 && b <= 0xDF) {
    length = 2;
  } else if (b >= 0xE0 && b <= 0xEF) {
    length = 3;
    if (b == 0xE0) low = 0xA0;
    if (b == 0xED) high = 0x9F;
  } else if (b >= 0xF0 && b <= 0xF4) {
    length = 4;
    if (b == 0xF0) low = 0x90;
    if (b == 0xF4) high = 0x8F;
  } else {
    return {0, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= s.size() || byte(at + i) < low || byte(at + i) > high) return {0, i};
    low = 0x80;
    high = 0xBF;
  }
  return {length, 0};
}

// Canonical decomposition, canonical order, canonical composition of one stretch. utf8proc orders by exchanging
// neighbours, which takes quadratic time on a long run of marks, hence the stable sort here.
void append_composed(std::string& out, std::string_view text) {
  std::vector<utf8proc_int32_t> points;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text.data() + i);
    i += c.bytes;
    utf8proc_int32_t parts[16];  // the longest canonical decomposition has 4 characters
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, 16,
                                                       static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE), &boundary);
    if (n < 0 || n > 16) fail(ErrorKind::internal, "cannot decompose U+{:04X}", c.code);
    points.insert(points.end(), parts, parts + n);
  }
  const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto at = points.begin(); at != points.end();) {
    const auto marks = std::find_if(at, points.end(), [&](auto c) { return combining(c) != 0; });
    at = std::find_if(marks, points.end(), [&](auto c) { return combining(c) == 0; });
    std::stable_sort(marks, at, [&](auto a, auto b) { return combining(a) < combining(b); });
  }
  const utf8proc_ssize_t n =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (n < 0) fail(ErrorKind::internal, "cannot compose a text of {} bytes", text.size());
  for (utf8proc_ssize_t i = 0; i < n; ++i) append_utf8(out, static_cast<uint32_t>(points[static_cast<size_t>(i)]));
}

}  // namespace

const uint8_t* char_classes() {
  static const std::vector<uint8_t> classes = spread();
  return classes.data();
}

void append_utf8(std::string& out, uint32_t code) {
  const auto push = [&out](uint32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xC0 | code >> 6);
    push(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    push(0xE0 | code >> 12);
    push(0x80 | (code >> 6 & 0x3F));
    push(0x80 | (code & 0x3F));
  } else {
    push(0xF0 | code >> 18);
    push(0x80 | (code >> 12 & 0x3F));
    push(0x80 | (code >> 6 & 0x3F));
    push(0x80 | (code & 0x3F));
  }
}

size_t find_invalid_utf8(std::string_view text) { return first_invalid_utf8(text).value_or(std::string_view::npos); }

void require_utf8(std::string_view text, std::string_view what) {
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  fail(ErrorKind::bad_input, "{}: byte {:#04x} at offset {} is not valid UTF-8; convert the text to UTF-8 first", what,
       static_cast<unsigned char>(text[at]), at);
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Sequence s = sequence_at(bytes, i);
    if (s.good > 0) {
      out.append(bytes.substr(i, s.good));
      i += s.good;
    } else {
      append_utf8(out, 0xFFFD);
      i += s.bad;
    }
  }
  return out;
}

std::string nfc(std::string_view text) {
  const uint8_t* classes = char_classes();
  std::string out;
  size_t copied = 0;                     // text before this is in `out`
  size_t last = std::string_view::npos;  // start of the character before, when it may join with the next one
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      last = i++;
      continue;
    }
    Utf8Char c = decode_utf8(text.data() + i);
    if (!(classes[c.code] & kNfcActiveClass)) {
      last = classes[c.code] & kNfcFirstClass ? i : std::string_view::npos;
      i += c.bytes;
      continue;
    }
    const size_t begin = last == std::string_view::npos ? i : last;
    while (i < text.size() && classes[c.code] & kNfcActiveClass) {
      i += c.bytes;
      if (i < text.size()) c = decode_utf8(text.data() + i);
    }
    if (out.empty()) out.reserve(text.size() + text.size() / 8);
    out.append(text.substr(copied, begin - copied));
    append_composed(out, text.substr(begin, i - begin));
    copied = i;
    last = std::string_view::npos;
  }
  out.append(text.substr(copied));
  return out;
}

}  // namespace kerf
