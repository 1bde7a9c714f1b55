// GGUF: what llama.cpp and what is built on it read.
#include <cstring>
#include <fstream>
#include <regex>

#include "formats/container.h"
#include "formats/gguf.h"

namespace kerf {
namespace {

bool recognises(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  if (path.extension() == ".gguf") return true;
  std::ifstream in(path, std::ios::binary);
  char magic[4];
  return in.read(magic, sizeof magic) && std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

}  // namespace

std::vector<std::filesystem::path> gguf_models_in(const std::filesystem::path& folder) {
  static const std::regex later_shard("-(?!00001)\\d{5}-of-\\d{5}\\.gguf$");
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (entry.is_regular_file() && name.ends_with(".gguf") && !std::regex_search(name, later_shard))
      found.push_back(entry.path());
  }
  return found;
}

const Container& container_gguf() {
  static const Container container = {
      .name = "gguf",
      .describe = "a GGUF file",
      .recognises = recognises,
      .open = open_gguf,
      .place = place_gguf,
      .create = create_gguf,
  };
  return container;
}

}  // namespace kerf
