#include "verify/artifact.h"

#include <algorithm>

#include "core/error.h"
#include "formats/gguf.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

bool is_gguf(const fs::path& p) { return p.extension() == ".gguf"; }

uint64_t bytes_of_sites(const Artifact& a, bool vocabulary, int64_t* parameters) {
  uint64_t bytes = 0;
  *parameters = 0;
  const auto add = [&](const Site& site) {
    const StoredWeight* w = a.weights->weight(site.name);
    bytes += w->stored_bytes;
    *parameters += w->info.elements();
  };
  if (vocabulary) {
    add(a.architecture.embedding());
    if (!a.architecture.tied) add(a.architecture.head());
    return bytes;
  }
  for (int64_t layer = 0; layer < a.architecture.layers(); ++layer)
    for (const Site& site : a.architecture.block_sites(layer)) add(site);
  return bytes;
}

double bits(uint64_t bytes, int64_t weights) { return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights); }

}  // namespace

int64_t Artifact::parameters() const {
  int64_t n = 0;
  for (int64_t layer = -1; layer < architecture.layers(); ++layer)
    for (const ExpectedTensor& t : architecture.expected_tensors(layer)) n += weights->find(t.name)->elements();
  return n;
}

BitsPerWeight Artifact::bits_per_weight() const {
  BitsPerWeight b;
  int64_t n = 0;
  b.all = bits(bytes, parameters());
  const uint64_t body = bytes_of_sites(*this, false, &n);
  b.body = bits(body, n);
  const uint64_t vocabulary = bytes_of_sites(*this, true, &n);
  b.embedding = bits(vocabulary, n);
  return b;
}

namespace {

// As a run with several targets leaves them.
std::vector<std::string> folders_with_models(const fs::path& path) {
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_directory() && !entry.path().filename().string().starts_with(".") &&
        (fs::exists(entry.path() / "config.json") || !gguf_models_in(entry.path()).empty()))
      folders.push_back(entry.path().filename().string());
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

Artifact open_artifact(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorKind::io, "there is no file or folder {}", path.string());
  if (is_gguf(path)) return open_gguf_artifact(path);
  if (!fs::is_directory(path) || fs::exists(path / "config.json")) return open_huggingface_artifact(path);
  const auto files = gguf_models_in(path);
  if (files.size() == 1) return open_gguf_artifact(files[0]);
  if (files.size() > 1)
    fail(ErrorKind::bad_input, "{} holds {} models in .gguf files; name one of them", path.string(), files.size());
  if (const auto below = folders_with_models(path); !below.empty())
    fail(ErrorKind::bad_input, "{} holds no model itself, but the folders {}; name one of them", path.string(),
         fmt::join(below, ", "));
  fail(ErrorKind::bad_input, "{} holds no model: neither a config.json with safetensors nor a .gguf file",
       path.string());
}

}  // namespace kerf
