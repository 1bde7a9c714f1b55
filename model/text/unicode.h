// What tokenizers need to know of Unicode: valid UTF-8, the character classes they split by, and NFC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// Classes as Hugging Face `tokenizers` sees them (its version is in unicode_tables.cc), one bit each.
enum CharClass : uint8_t {
  kLetterClass = 1,      // \p{L}
  kNumberClass = 2,      // \p{N}
  kSpaceClass = 4,       // \s = White_Space
  kDigitClass = 8,       // what the Digits pre-tokenizer splits: \p{N} of a newer Unicode
  kWordClass = 16,       // \w: a single_word token does not match beside it
  kNfcActiveClass = 32,  // NFC may change it, move it, or join it to what stands before
  kNfcFirstClass = 64,   // NFC may join it with what stands behind
};

/// The classes of every code point, indexed by code point up to 0x10FFFF.
const uint8_t* char_classes();

/// One character of valid UTF-8.
struct Utf8Char {
  uint32_t code;
  uint32_t bytes;
};

/// Decodes the character at p of a text known to be valid UTF-8.
inline Utf8Char decode_utf8(const char* p) {
  const auto byte = [p](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  const uint32_t b = byte(0);
  if (b < 0x80) return {b, 1};
  if (b < 0xE0) return {(b & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (b < 0xF0) return {(b & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(b & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

void append_utf8(std::string& out, uint32_t code);

/// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms,
/// surrogates, or code points past 0x10FFFF), or npos.
size_t find_invalid_utf8(std::string_view text);
/// Error bad_input that names `what` and the byte offset when the text is not well-formed UTF-8.
void require_utf8(std::string_view text, std::string_view what);
/// The bytes as text, with U+FFFD for each maximal ill-formed part (Unicode 15, section 3.9).
std::string utf8_lossy(std::string_view bytes);

/// Normalization form C, by the rules of Unicode 9, which is what Hugging Face tokenizers does: characters assigned
/// since are left alone. Takes valid UTF-8. Time n log n.
std::string nfc(std::string_view text);

namespace unicode_tables {
struct Runs {
  std::span<const uint32_t> gaps_and_lengths;
  unsigned classes;
};
extern const Runs runs[];
extern const size_t run_count;
}  // namespace unicode_tables

}  // namespace kerf
