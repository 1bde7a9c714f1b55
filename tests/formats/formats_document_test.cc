// The tables of docs/formats.md say what the code does.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <map>
#include <regex>
#include <string>

#include "formats/ggml_type.h"
#include "tests/support/data.h"

namespace kerf::test {
namespace {

struct Row {
  uint32_t id;
  int64_t weights, bytes, fields;
};

// | Q4_0 | 2 | 32 | 18 | 2 `d`, 16 nibbles | ... |, by name. `fields` is the sum of the numbers that begin the fields.
std::map<std::string, Row> blocks() {
  static const std::regex row(R"(^\| ([A-Z0-9_]+) \| (\d+) \| (\d+) \| (\d+) \| ([^|]*) \|.*)"),
      field(R"((^|, )(\d+) )");
  std::map<std::string, Row> rows;
  std::ifstream in(source_dir() / "docs/formats.md");
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (!std::regex_match(line, m, row)) continue;
    int64_t sum = 0;
    const std::string fields = m[5];
    for (std::sregex_iterator f(fields.begin(), fields.end(), field), end; f != end; ++f) sum += std::stoll((*f)[2]);
    rows[m[1]] = {static_cast<uint32_t>(std::stoul(m[2])), std::stoll(m[3]), std::stoll(m[4]), sum};
  }
  return rows;
}

TEST(FormatsDocument, ListsEveryTypeOfGgufWithItsBlock) {
  const auto rows = blocks();
  size_t types = 0;
  for (const GgmlType& t : ggml_types()) {
    const auto at = rows.find(std::string(t.name));
    if (t.withdrawn()) {
      EXPECT_EQ(at, rows.end()) << t.name;
      continue;
    }
    ++types;
    ASSERT_NE(at, rows.end()) << t.name << " is not in docs/formats.md";
    EXPECT_EQ(at->second.id, t.id) << t.name;
    EXPECT_EQ(at->second.weights, t.block) << t.name;
    EXPECT_EQ(at->second.bytes, t.block_bytes) << t.name;
    EXPECT_EQ(at->second.fields, t.block_bytes) << t.name << ": the fields do not fill the block";
  }
  EXPECT_EQ(rows.size(), types);
}

}  // namespace
}  // namespace kerf::test
