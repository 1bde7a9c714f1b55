#include "model/text/unicode.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/error.h"

namespace kerf {
namespace {

std::string utf8(std::initializer_list<uint32_t> codes) {
  std::string s;
  for (const uint32_t c : codes) append_utf8(s, c);
  return s;
}

TEST(Utf8, EveryCodePointSurvivesEncodingAndDecoding) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string s = utf8({c});
    ASSERT_EQ(find_invalid_utf8(s), std::string::npos) << c;
    const Utf8Char back = decode_utf8(s.data());
    ASSERT_EQ(back.code, c);
    ASSERT_EQ(back.bytes, s.size());
  }
}

TEST(Utf8, NamesTheOffsetOfTheFirstInvalidByte) {
  const std::pair<std::string, size_t> cases[] = {
      {"abc\xFF", 3},          {"\x80", 0},         {"a\xC0\x80", 1},        {"a\xC1\xBF", 1},
      {"\xE0\x9F\xBF", 0},     {"\xED\xA0\x80", 0}, {"\xF0\x8F\xBF\xBF", 0}, {"\xF4\x90\x80\x80", 0},
      {"\xF5\x80\x80\x80", 0}, {"ab\xE2\x82", 2},   {"\xC3\xA9\xC3", 2},     {"\xE2\x28\xA1", 0},
  };
  for (const auto& [text, offset] : cases) EXPECT_EQ(find_invalid_utf8(text), offset) << testing::PrintToString(text);
  try {
    require_utf8("abc\xFF", "text");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(e.what()).find("0xff at offset 3"), std::string::npos) << e.what();
  }
}

TEST(Utf8, LossyTextHasOneReplacementPerMaximalIllFormedPart) {
  const std::string r = "\xEF\xBF\xBD";
  // The example of table 3-8 of the Unicode standard, and truncated sequences.
  EXPECT_EQ(utf8_lossy("a\xF1\x80\x80\xE1\x80\xC2"
                       "b\x80"
                       "c\x80\xBF"
                       "d"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(utf8_lossy("\xE2\x82"), r);
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(utf8_lossy("\xC3\xA9"), "\xC3\xA9");
}

TEST(CharClasses, WhiteSpaceIsTheTwentyFiveCharactersOfTheStandard) {
  std::vector<uint32_t> spaces;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (char_classes()[c] & kSpaceClass) spaces.push_back(c);
  }
  const std::vector<uint32_t> standard = {0x9,    0xA,    0xB,    0xC,    0xD,    0x20,   0x85,   0xA0,   0x1680,
                                          0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008,
                                          0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  EXPECT_EQ(spaces, standard);
}

TEST(CharClasses, LetterNumberAndSpaceExcludeEachOther) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    const int kinds = !!(char_classes()[c] & kLetterClass) + !!(char_classes()[c] & kNumberClass) +
                      !!(char_classes()[c] & kSpaceClass);
    ASSERT_LE(kinds, 1) << c;
  }
}

TEST(Nfc, ComposesReordersAndLeavesExclusionsDecomposed) {
  EXPECT_EQ(nfc("abc"), "abc");
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc(utf8({'e', 0x301})), utf8({0xE9}));
  EXPECT_EQ(nfc(utf8({'x', 'e', 0x301, 'y'})), utf8({'x', 0xE9, 'y'}));
  EXPECT_EQ(nfc(utf8({0xE9, 0x323})), utf8({0x1EB9, 0x301}));      // e with acute, dot below
  EXPECT_EQ(nfc(utf8({'a', 0x301, 0x316})), utf8({0xE1, 0x316}));  // a lower class in between does not block
  EXPECT_EQ(nfc(utf8({'a', 0x308, 0x301})), utf8({0xE4, 0x301}));  // an equal class does
  EXPECT_EQ(nfc(utf8({0x212B})), utf8({0xC5}));                    // singleton
  EXPECT_EQ(nfc(utf8({0x958})), utf8({0x915, 0x93C}));             // composition exclusion
  EXPECT_EQ(nfc(utf8({0x1100, 0x1161, 0x11A8})), utf8({0xAC01}));  // Hangul
  EXPECT_EQ(nfc(utf8({0xAC00, 0x11A8})), utf8({0xAC01}));
  EXPECT_EQ(nfc(utf8({0x301, 0x323})), utf8({0x323, 0x301}));  // marks without a base
}

TEST(Nfc, LeavesCharactersAssignedAfterUnicode9Alone) {
  const std::string pair = utf8({0x11935, 0x11930});  // compose to U+11938 since Unicode 13
  EXPECT_EQ(nfc(pair), pair);
  const std::string marks = utf8({'a', 0x8CA, 0x323});  // U+08CA: class 230 since Unicode 14, to stand behind U+0323
  EXPECT_EQ(nfc(marks), marks);
}

TEST(Nfc, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string s = "a";
  for (int i = 0; i < 300000; ++i) append_utf8(s, i % 2 ? 0x301 : 0x323);
  const auto begin = std::chrono::steady_clock::now();
  const std::string out = nfc(s);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(out.size(), s.size() - 1 - 2 + 3 - 2 + 2);  // a + U+0323 become U+1EA1: three bytes for three
  EXPECT_LT(took.count(), 10.0);  // n log n takes some 0.1 s; moving 150,000 marks one by one past as many, minutes
}

}  // namespace
}  // namespace kerf
