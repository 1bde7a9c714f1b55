// What the fuzzers share. A reader may refuse its input with an Error of a kind that the user can do something about;
// anything else that leaves it (another exception, a kind that means a mistake in kerf) is a crash.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/log.h"

namespace kerf::fuzz {

template <class F>
int read(F&& f) {
  set_quiet(true);
  try {
    f();
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::internal) {
      std::fprintf(stderr, "a mistake in kerf: %s\n", e.what());
      std::abort();
    }
  }
  return 0;
}

/// A folder of this process in memory, removed when the process ends by itself.
class Folder {
 public:
  Folder() : path_("/dev/shm/kerf-fuzz-" + std::to_string(getpid())) { std::filesystem::create_directories(path_); }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path put(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};
inline const Folder& folder() {
  static const Folder folder;
  return folder;
}

inline std::string_view text(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

/// Cuts off the next part of an input of several: up to a line that is "----".
inline std::string_view next_part(std::string_view& rest) {
  constexpr std::string_view kCut = "\n----\n";
  const size_t end = rest.find(kCut);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + kCut.size());
  return part;
}

}  // namespace kerf::fuzz
