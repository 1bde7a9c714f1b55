// GGUF: what llama.cpp and what is built on it read.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <regex>

#include "core/words.h"
#include "formats/container.h"
#include "formats/gguf.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr size_t kShownModels = 8;

bool is_later_shard(const std::string& name) {
  static const std::regex pattern("-(?!00001)\\d{5}-of-\\d{5}\\.gguf$");
  return std::regex_search(name, pattern);
}

// As downloads are called that are not finished (kerf, the hub's client, Ollama).
bool is_unfinished(const std::string& name) {
  return name.ends_with(".partial") || name.ends_with(".incomplete") || name.find("-partial") != std::string::npos;
}

// What a file says that it is, when it can be opened.
std::string type_of(const fs::path& file) {
  try {
    const auto reader = open_gguf(file);
    const std::string type = reader->get_or<std::string>("general.type", "model");
    return type == "model" && reader->get_or<std::string>("general.architecture", "") == "clip" ? "mmproj" : type;
  } catch (const Error&) {
    return "model";  // whoever opens it says what is wrong
  }
}

std::vector<fs::path> finished_files_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!is_unfinished(name) && !is_later_shard(name) && is_gguf(entry.path())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

bool is_gguf(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  if (path.extension() == ".gguf") return true;
  std::ifstream in(path, std::ios::binary);
  char magic[4];
  return in.read(magic, sizeof magic) && std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

std::vector<fs::path> gguf_models_in(const fs::path& folder) {
  std::vector<fs::path> found = finished_files_in(folder);
  if (found.size() > 1) std::erase_if(found, [](const fs::path& file) { return type_of(file) != "model"; });
  return found;
}

std::vector<fs::path> gguf_adapters_in(const fs::path& folder) {
  std::vector<fs::path> found = finished_files_in(folder);
  std::erase_if(found, [](const fs::path& file) { return type_of(file) != "adapter"; });
  return found;
}

fs::path gguf_model_in(const fs::path& folder, std::string_view nothing) {
  const std::vector<fs::path> files = gguf_models_in(folder);
  if (files.size() == 1) return files.front();
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.filename());
  if (files.size() > 1)
    fail(ErrorKind::bad_input, "{} holds {} models in GGUF files ({}); name one of them", folder.string(), files.size(),
         some_of(names, kShownModels));
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_later_shard(entry.path().filename()))
      fail(ErrorKind::bad_input,
           "{} is a part of a model in several files, and the first, NAME-00001-of-0000N.gguf, is missing beside it; "
           "download it again",
           entry.path().string());
  fail(ErrorKind::bad_input, "{} {}", folder.string(), nothing);
}

const Container& container_gguf() {
  static const Container container = {
      .name = "gguf",
      .describe = "a GGUF file",
      .recognises = is_gguf,
      .open = open_gguf,
      .place = place_gguf,
      .create = create_gguf,
  };
  return container;
}

}  // namespace kerf
