// The arrows of the house (docs/architecture.md): which room may include which. Fails on a wrong arrow.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "tests/support/data.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using Rooms = std::set<std::string>;

// A room may include itself and these.
const std::map<std::string, Rooms> kAllowed = {
    {"core", {}},
    {"grids", {"core"}},
    {"kernels", {"core"}},
    {"formats", {"core", "grids"}},
    {"model", {"core", "kernels"}},
    {"solver", {"core", "grids", "kernels"}},
    {"quant", {"core", "grids", "solver"}},
    {"targets", {"core", "grids", "kernels", "formats"}},
    {"verify", {"core", "grids", "kernels", "formats", "targets", "model"}},
    {"pipeline", {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify"}},
    {"cli", {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify", "pipeline"}},
};

// Rooms named by the #include "room/..." lines of one file.
Rooms included_rooms(const fs::path& file) {
  static const std::regex include("^#include \"([a-z]+)/");
  Rooms rooms;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (std::regex_search(line, m, include)) rooms.insert(m[1]);
  }
  return rooms;
}

TEST(Rooms, IncludeOnlyAlongTheArrows) {
  int files = 0;
  for (const auto& [room, allowed] : kAllowed) {
    for (const auto& entry : fs::recursive_directory_iterator(test::source_dir() / room)) {
      const auto extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc") continue;
      ++files;
      for (const std::string& other : included_rooms(entry.path()))
        EXPECT_TRUE(other == room || allowed.count(other)) << entry.path() << " includes " << other << "/...";
    }
  }
  EXPECT_GT(files, 50);
}

TEST(Rooms, AreAllNamedHere) {
  for (const auto& entry : fs::directory_iterator(test::source_dir())) {
    if (!fs::exists(entry.path() / "CMakeLists.txt")) continue;
    const std::string name = entry.path().filename();
    if (name == "tests" || name == "bench") continue;
    EXPECT_TRUE(kAllowed.count(name)) << name << " is a room without arrows";
  }
}

TEST(Rooms, NobodyIncludesTestsOrBench) {
  for (const auto& [room, allowed] : kAllowed)
    for (const auto& entry : fs::recursive_directory_iterator(test::source_dir() / room))
      if (entry.path().extension() == ".h" || entry.path().extension() == ".cc") {
        const Rooms rooms = included_rooms(entry.path());
        EXPECT_FALSE(rooms.count("tests") || rooms.count("bench")) << entry.path();
      }
}

// Standard templates compiled with the flags of an instruction set can be kept by the linker for everybody; a C header
// of types has none.
TEST(IsaFiles, IncludeIntrinsicsAndTheirOwnHeaderOnly) {
  static const std::regex system("^#include <([^>]+)>");
  for (const auto& [room, allowed] : kAllowed)
    for (const auto& entry : fs::directory_iterator(test::source_dir() / room)) {
      const std::string stem = entry.path().stem();
      if (!stem.ends_with("_avx2") && !stem.ends_with("_avx512")) continue;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        std::smatch m;
        if (!std::regex_search(line, m, system)) continue;
        EXPECT_TRUE(m[1] == "immintrin.h" || m[1] == "stdint.h") << entry.path() << " includes " << m[1];
      }
    }
}

}  // namespace
}  // namespace kerf
