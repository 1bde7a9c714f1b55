#include "formats/text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace kerf::test {
namespace {

std::string encode(uint32_t c) {
  const auto byte = [](uint32_t v) { return static_cast<char>(v); };
  const auto tail = [&](int shift) { return byte(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {byte(0xE0 | c >> 12), tail(6), tail(0)};
  return {byte(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}
bool surrogate(uint32_t c) { return c >= 0xD800 && c < 0xE000; }

TEST(Utf8, TakesEveryCodePointAndRefusesSurrogatesAndWhatLiesPast) {
  for (uint32_t c = 0; c < 0x200000; ++c) {
    const bool good = c <= 0x10FFFF && !surrogate(c);
    ASSERT_EQ(first_invalid_utf8(encode(c)).has_value(), !good) << c;
  }
}

// All strings of three bytes, judged by decoding and encoding again.
TEST(Utf8, AgreesWithReencodingOnEveryThreeBytes) {
  std::string s(3, '\0');
  for (uint32_t v = 0; v < 0x1000000; v += 1 + (v & 7)) {
    for (int i = 0; i < 3; ++i) s[static_cast<size_t>(i)] = static_cast<char>(v >> (8 * i));
    size_t at = 0;
    while (at < 3) {
      const auto b = [&](size_t k) { return static_cast<uint32_t>(static_cast<uint8_t>(s[at + k])); };
      const size_t n = b(0) < 0x80 ? 1 : b(0) < 0xE0 ? 2 : b(0) < 0xF0 ? 3 : 4;
      if (at + n > 3) break;
      const uint32_t c = n == 1   ? b(0)
                         : n == 2 ? (b(0) & 31) << 6 | (b(1) & 63)
                                  : (b(0) & 15) << 12 | (b(1) & 63) << 6 | (b(2) & 63);
      if (surrogate(c) || encode(c) != s.substr(at, n)) break;
      at += n;
    }
    ASSERT_EQ(first_invalid_utf8(s), at == 3 ? std::nullopt : std::optional<size_t>(at)) << v;
  }
}

TEST(Utf8, RefusesSequencesCutShort) {
  for (const char* whole : {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"}) {
    const std::string s = std::string("ab") + whole;
    EXPECT_EQ(first_invalid_utf8(s), std::nullopt);
    for (size_t n = 3; n < s.size(); ++n) EXPECT_EQ(first_invalid_utf8(s.substr(0, n)), 2u);
  }
}

TEST(Utf8, RefusesOverlongForms) {
  for (const char* s : {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"})
    EXPECT_EQ(first_invalid_utf8(s), 0u);
}

TEST(InQuotes, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(in_quotes("ä b"), "'ä b'");
  EXPECT_EQ(in_quotes("a\n\xff\x1b"), "'a\\x0a\\xff\\x1b'");
  EXPECT_EQ(in_quotes("abcdef", 3), "'abc... (6 bytes)'");
  EXPECT_EQ(in_quotes("ääää", 3), "'ää... (8 bytes)'");
}

}  // namespace
}  // namespace kerf::test
