// The arrows between modules (docs/architecture.md): which may include which. Fails on a wrong arrow.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>

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
    {"prune", {"core", "grids", "kernels", "model/arch", "model/text", "solver"}},
    {"distill", {"core", "grids", "kernels", "model/arch", "model/ops", "model/run", "model/text", "solver"}},
    {"targets", {"core", "grids", "kernels", "formats", "model/arch"}},
    {"verify", {"core", "grids", "kernels", "formats", "targets", "model"}},
    {"pipeline/plan",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "prune", "distill", "targets", "verify"}},
    {"pipeline/calibrate",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "prune", "distill", "targets", "verify",
      "pipeline/plan"}},
    {"pipeline/prune",
     {"core", "grids", "kernels", "formats", "model", "solver", "prune", "targets", "verify", "pipeline/plan",
      "pipeline/calibrate"}},
    {"pipeline/distill",
     {"core", "grids", "kernels", "formats", "model", "distill", "targets", "verify", "pipeline/plan",
      "pipeline/calibrate"}},
    {"pipeline/report",
     {"core", "grids", "kernels", "formats", "model", "targets", "verify", "pipeline/plan", "pipeline/calibrate"}},
    {"pipeline/repository",
     {"core", "grids", "kernels", "formats", "model", "targets", "verify", "pipeline/plan", "pipeline/calibrate",
      "pipeline/report"}},
    {"pipeline/runs",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "prune", "distill", "targets", "verify",
      "pipeline"}},
    {"cli",
     {"core", "grids", "kernels", "formats", "model", "solver", "quant", "prune", "targets", "verify", "pipeline"}},
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

// One door for JSON (core/json.h): who parses text himself has it checked there first, so that its depth has a limit.
TEST(Json, EveryTextIsCheckedBeforeItIsParsed) {
  static constexpr std::string_view kParsers[] = {"json::parse(", "Json::parse(", "sax_parse("};
  int parsers = 0;
  for (const auto& [module, allowed] : kAllowed)
    for_sources(module, [&](const fs::path& file) {
      std::ifstream in(file);
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      const auto calls = [&](std::string_view parser) { return text.find(parser) != std::string::npos; };
      if (std::none_of(std::begin(kParsers), std::end(kParsers), calls)) return;
      ++parsers;
      EXPECT_NE(text.find("check_json_text("), std::string::npos) << file << " parses JSON that nobody has checked";
    });
  EXPECT_GE(parsers, 4);
}

// With KERF_UNITY the files of a module that its CMakeLists.txt does not set APART are compiled together: two functions
// of one name would become overloads of each other, and another one be called than meant.
std::optional<std::regex> files_apart(const std::string& module) {
  std::ifstream in(test::source_dir() / module / "CMakeLists.txt");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  static const std::regex apart("APART \"([^\"]*)\"");
  std::smatch m;
  if (!std::regex_search(text, m, apart)) return std::nullopt;
  return std::regex(std::regex_replace(m.str(1), std::regex(R"(\\\\)"), R"(\)"));
}

// The functions, constants and types that a file's namespace without a name defines at its outermost level; not
// aliases, which may be repeated.
std::set<std::string> local_names(const fs::path& file) {
  static const std::regex type("^(?:struct|class|enum class|enum) (\\w+).*"), function("^[^ }/#(].*?[ &*>](\\w+)\\(.*"),
      constant("^(?:const|constexpr|static|inline)\\b[^(]*?(\\w+)(?:\\[.*\\])?(?: =|\\{|;).*");
  std::set<std::string> names;
  std::ifstream in(file);
  bool local = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "namespace {") local = true;
    if (line == "}  // namespace") local = false;
    std::smatch m;
    if (local &&
        (std::regex_match(line, m, type) || std::regex_match(line, m, function) || std::regex_match(line, m, constant)))
      names.insert(m[1]);
  }
  return names;
}

// The types that headers declare in namespace kerf.
std::map<std::string, fs::path> public_types() {
  static const std::regex type("^(?:struct|class|enum class) (\\w+).*");
  std::map<std::string, fs::path> types;
  for (const auto& [module, allowed] : kAllowed)
    for_sources(module, [&](const fs::path& file) {
      static const std::regex of_one_kernel("_(body|ref|avx2|avx512)\\.h$");
      if (file.extension() != ".h" || std::regex_search(file.string(), of_one_kernel)) return;
      bool inside = false;
      std::ifstream in(file);
      for (std::string line; std::getline(in, line);) {
        if (line.starts_with("namespace ")) inside = line == "namespace kerf {";
        std::smatch m;
        if (inside && std::regex_match(line, m, type)) types.emplace(m[1], file);
      }
    });
  return types;
}

TEST(Unity, FilesThatAreCompiledTogetherShareNoLocalName) {
  const std::map<std::string, fs::path> types = public_types();
  size_t names = 0;
  for (const auto& [module, allowed] : kAllowed) {
    const std::optional<std::regex> apart = files_apart(module);
    std::map<std::string, fs::path> where;
    for_sources(module, [&, &module = module](const fs::path& file) {
      static const std::regex not_together("(_(ref|avx2|avx512)|^main)\\.cc$");
      const std::string name = file.filename();
      if (file.extension() != ".cc" || std::regex_search(name, not_together) ||
          (apart && std::regex_search(name, *apart)))
        return;
      for (const std::string& local : local_names(file)) {
        const auto type = types.find(local);
        EXPECT_TRUE(type == types.end()) << local << " of " << file << " is also a type in " << type->second;
        const auto [at, first] = where.emplace(local, file);
        EXPECT_TRUE(first) << local << " of " << file << " is also in " << at->second
                           << ": give one another name, or set one APART in " << module << "/CMakeLists.txt";
      }
    });
    names += where.size();
  }
  EXPECT_GT(names, 300u);
}

}  // namespace
}  // namespace kerf
