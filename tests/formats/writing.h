// What the tests of writing share.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/container.h"
#include "tests/formats/hostile.h"

namespace kerf::test {

/// The names of the files in a folder, sorted.
inline std::vector<std::string> names_in(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(dir)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// Types that every container spells alike, with sizes that make padding matter.
inline FilePlan plan() {
  return {.tensors = {{"b.weight", "BF16", {3, 5}, 30},
                      {"a", "F32", {7}, 28},
                      {"none", "F32", {0, 3}, 0},
                      {"big \"quoted\" ä", "F32", {300, 70}, 84000},
                      {"shape", "I64", {2}, 16},
                      {"c", "I8", {1, 1, 3}, 3}},
          .metadata = {{"format", std::string("pt")}, {"ä\n", std::string("\"")}}};
}

/// Bytes that differ from tensor to tensor.
inline std::string content(size_t tensor, size_t bytes) {
  std::string s(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) s[i] = static_cast<char>(i * 31 + tensor * 7 + i / 251);
  return s;
}

inline void fill(Writer& w, const FilePlan& p) {
  for (size_t i = 0; i < p.tensors.size(); ++i) w.write(i, 0, as_bytes(content(i, p.tensors[i].bytes)));
}

}  // namespace kerf::test
