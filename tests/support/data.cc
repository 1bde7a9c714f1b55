#include "tests/support/data.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace kerf::test {
namespace fs = std::filesystem;

fs::path source_dir() { return KERF_SOURCE_DIR; }

std::optional<fs::path> data_dir() {
  const char* set = std::getenv("KERF_DATA");
  fs::path dir = set && *set ? fs::path(set) : source_dir() / ".." / "shared";
  if (!fs::is_directory(dir / "models")) return std::nullopt;
  return fs::canonical(dir);
}

fs::path example_dir() { return source_dir() / "examples" / "tinytales"; }

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "kerf-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("cannot make a temporary folder " + name);
  path_ = name;
}
TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace kerf::test
