// safetensors: what checkpoints and most packed Hugging Face models come in.
#include <cstring>
#include <fstream>

#include "formats/container.h"
#include "formats/safetensors.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

bool looks_like_a_header(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  char head[9];
  if (!in.read(head, sizeof head)) return false;
  uint64_t length = 0;
  std::memcpy(&length, head, 8);
  return length >= 2 && length <= kSafetensorsHeaderLimit && head[8] == '{';
}

bool recognises(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / "model.safetensors.index.json", error)) return true;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      if (it->path().extension() == ".safetensors") return true;
    return false;
  }
  const std::string name = path.filename().string();
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || looks_like_a_header(path);
}

}  // namespace

const Container& container_safetensors() {
  static const Container container = {
      .name = "safetensors",
      .describe = "a safetensors file or a folder with model.safetensors",
      .recognises = recognises,
      .open = open_safetensors,
      .place = place_safetensors,
      .create = create_safetensors,
  };
  return container;
}

}  // namespace kerf
