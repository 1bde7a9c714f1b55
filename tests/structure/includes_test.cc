// The arrows between modules (docs/architecture.md): which may include which. Fails on a wrong arrow.
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
using Modules = std::set<std::string>;

// A module may include itself and these; a name stands for all of its sub-modules, too.
const std::map<std::string, Modules> kAllowed = {
    {"core", {}},
    {"grids/search", {"core"}},
    {"grids", {"core"}},
    {"kernels/dense", {"core"}},
    {"kernels/elementwise", {"core"}},
    {"kernels/gguf", {"core", "kernels"}},
    {"kernels/compressed_tensors", {"core", "kernels"}},
    {"kernels", {"core"}},
    {"formats", {"core", "grids"}},
    {"formats/layouts", {"core", "grids", "formats"}},
    {"model/text", {"core"}},
    {"model/chat", {"core", "model/text"}},
    {"model/arch", {"core"}},
    {"model/ops", {"core", "kernels", "model/arch"}},
    {"model/run", {"core", "kernels", "model/arch", "model/ops", "model/text"}},
    {"solver", {"core", "grids", "kernels"}},
    {"quant", {"core", "grids", "solver"}},
    {"targets", {"core", "grids", "kernels", "formats", "model/arch"}},
    {"verify", {"core", "grids", "kernels", "formats", "targets", "model"}},
    {"pipeline/plan", {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify"}},
    {"pipeline/calibrate",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify", "pipeline/plan"}},
    {"pipeline/report",
     {"core", "grids", "kernels", "formats", "model", "targets", "verify", "pipeline/plan", "pipeline/calibrate"}},
    {"pipeline/repository",
     {"core", "grids", "kernels", "formats", "model", "targets", "verify", "pipeline/plan", "pipeline/calibrate",
      "pipeline/report"}},
    {"pipeline/runs",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify", "pipeline"}},
    {"cli", {"core", "grids", "kernels", "formats", "model", "solver", "quant", "targets", "verify", "pipeline"}},
};

bool is_source(const fs::path& file) { return file.extension() == ".h" || file.extension() == ".cc"; }

// f(file) for the sources of a module, those of its sub-modules left out.
template <class F>
void for_sources(const std::string& module, F&& f) {
  for (const auto& entry : fs::directory_iterator(test::source_dir() / module))
    if (entry.is_regular_file() && is_source(entry.path())) f(entry.path());
}

// Modules named by the #include "module/header.h" lines of one file.
Modules included_modules(const fs::path& file) {
  static const std::regex include("^#include \"([a-z_/]+)/[^/\"]+\"");
  Modules modules;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (std::regex_search(line, m, include)) modules.insert(m[1]);
  }
  return modules;
}

bool allows(const std::string& module, const Modules& allowed, const std::string& other) {
  const std::string family = other.substr(0, other.find('/'));
  // A folder's own sources may use its sub-modules.
  return other == module || other.starts_with(module + "/") || allowed.count(other) || allowed.count(family);
}

TEST(Modules, IncludeOnlyAlongTheArrows) {
  int files = 0;
  for (const auto& [module, allowed] : kAllowed)
    for_sources(module, [&, &module = module, &allowed = allowed](const fs::path& file) {
      ++files;
      for (const std::string& other : included_modules(file))
        EXPECT_TRUE(allows(module, allowed, other)) << file << " includes " << other << "/...";
    });
  EXPECT_GT(files, 400);
}

TEST(Modules, AreAllNamedHere) {
  for (const auto& entry : fs::recursive_directory_iterator(test::source_dir())) {
    const std::string name = fs::relative(entry.path(), test::source_dir());
    if (name.starts_with("tests") || name.starts_with("bench") || name.starts_with("build") || name.starts_with(".") ||
        !entry.is_regular_file() || !is_source(entry.path()))
      continue;
    const std::string module = fs::path(name).parent_path();
    EXPECT_TRUE(kAllowed.count(module)) << module << " is a module without arrows";
  }
}

TEST(Modules, NobodyIncludesTestsOrBench) {
  for (const auto& [module, allowed] : kAllowed)
    for_sources(module, [](const fs::path& file) {
      for (const std::string& other : included_modules(file))
        EXPECT_FALSE(other.starts_with("tests") || other.starts_with("bench")) << file;
    });
}

// Standard templates compiled with the flags of an instruction set can be kept by the linker for everybody; a C header
// of types has none.
TEST(IsaFiles, IncludeIntrinsicsAndTheirOwnHeaderOnly) {
  static const std::regex system("^#include <([^>]+)>");
  for (const auto& [module, allowed] : kAllowed)
    for_sources(module, [](const fs::path& file) {
      const std::string stem = file.stem();
      if (!stem.ends_with("_avx2") && !stem.ends_with("_avx512")) return;
      std::ifstream in(file);
      for (std::string line; std::getline(in, line);) {
        std::smatch m;
        if (!std::regex_search(line, m, system)) continue;
        EXPECT_TRUE(m[1] == "immintrin.h" || m[1] == "stdint.h") << file << " includes " << m[1];
      }
    });
}

}  // namespace
}  // namespace kerf
