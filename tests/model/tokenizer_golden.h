// The goldens of goldens/tokenizer/make.py, and its hash.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "model/text/tokenizer.h"
#include "model/text/unicode.h"
#include "tests/support/data.h"

namespace kerf::test {

inline nlohmann::json golden(const std::string& name) {
  return nlohmann::json::parse(read_text(source_dir() / "tests" / "model" / "goldens" / "tokenizer" / name));
}

/// FNV-1a, 64 bits, in hexadecimal.
inline std::string fnv(std::string_view bytes) {
  uint64_t h = 0xCBF29CE484222325;
  for (const char c : bytes) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", h);
}

inline std::string hash_of(std::span<const int32_t> ids) {
  std::string bytes;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(id >> shift & 0xFF));
  }
  return fnv(bytes);
}

/// All code points of a plane that are no surrogates, an 'a' between any two.
inline std::string code_points(uint32_t begin, uint32_t end) {
  std::string text;
  for (uint32_t c = begin; c < end; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (!text.empty()) text += 'a';
    append_utf8(text, c);
  }
  return text;
}

/// The texts of strings.json.
inline std::vector<std::string> golden_strings() {
  std::vector<std::string> strings;
  const nlohmann::json file = golden("strings.json");
  for (const nlohmann::json& item : file["strings"]) {
    if (item.is_string()) {
      strings.push_back(item.get<std::string>());
      continue;
    }
    strings.emplace_back();
    for (int n = item[1].get<int>(); n > 0; --n) strings.back() += item[0].get<std::string>();
  }
  return strings;
}

/// Compares number, hash of the ids and hash of the decoded text with {"count", "ids", "decoded"}.
inline void expect_digest(const Tokenizer& t, std::string_view text, const nlohmann::json& wanted,
                          const std::string& what) {
  const std::vector<int32_t> ids = t.encode(text, false);
  EXPECT_EQ(ids.size(), wanted["count"].get<size_t>()) << what;
  EXPECT_EQ(hash_of(ids), wanted["ids"].get<std::string>()) << what;
  EXPECT_EQ(fnv(t.decode(ids, false)), wanted["decoded"].get<std::string>()) << what;
}

}  // namespace kerf::test
