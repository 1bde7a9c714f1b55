// Where tests find their inputs.
#pragma once

#include <filesystem>
#include <optional>

namespace kerf::test {

/// The folder of large real inputs: $KERF_DATA, or ../shared beside the source; nullopt when it is not there. Tests
/// that need it call GTEST_SKIP() then.
std::optional<std::filesystem::path> data_dir();
/// examples/tinytales, the model embedded in the repository.
std::filesystem::path example_dir();
/// tests/<module>/..., for goldens.
std::filesystem::path source_dir();

/// A fresh folder that is removed with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace kerf::test
