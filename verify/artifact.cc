#include "verify/artifact.h"

#include <algorithm>

#include "core/error.h"
#include "core/stand_in.h"
#include "formats/gguf.h"
#include "targets/target.h"
#include "verify/checkpoint.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

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

bool is_quantized(const StoredWeight& w) { return w.gemm || (!w.scheme.empty() && !dtype_from_name(w.type)); }

bool Artifact::is_quantized() const {
  const auto all = weights->weights();
  return std::any_of(all.begin(), all.end(), [](const StoredWeight& w) { return kerf::is_quantized(w); });
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

void set_runtime(Artifact& a, const RuntimeSettings& settings, VerifyMode n) {
  if (!settings.any()) return;
  if (a.target.empty())
    fail(ErrorKind::usage,
         "{} is a full-precision checkpoint, computed in float32: --flash-attention and --kv-cache are settings of "
         "llama.cpp for GGUF files; leave them out",
         a.path.string());
  if (n == VerifyMode::float32)
    fail(ErrorKind::usage,
         "--flash-attention and --kv-cache change nothing with --arithmetic float32; leave out the one or the other");
  a.arithmetic = find_target(a.target).arithmetic_with(settings, a.architecture);
}

RuntimeSettings runtime_of(const Artifact& a, VerifyMode n) {
  return a.target.empty() || n == VerifyMode::float32 ? RuntimeSettings{}
                                                      : find_target(a.target).settings_of(a.arithmetic);
}

bool is_checkpoint(const fs::path& folder) {
  return fs::exists(folder / "config.json") &&
         (find_container("safetensors").recognises(folder) || gguf_models_in(folder).empty());
}

bool holds_model(const fs::path& folder) {
  return fs::exists(folder / "config.json") || !gguf_models_in(folder).empty();
}

std::vector<fs::path> folders_with_models(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && !entry.path().filename().string().starts_with(".") && holds_model(entry.path()))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

Artifact open_artifact(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorKind::io, "there is no file or folder {}", path.string());
  if (is_gguf(path)) return open_gguf_artifact(path);
  if (!fs::is_directory(path) && !find_container("safetensors").recognises(path)) {
    constexpr const char* kToDo = "; give a model's folder or one of these files";
    refuse_stand_in(path.string(), "neither a GGUF nor a safetensors file", head_of(path), kToDo);
    fail(ErrorKind::bad_input, "{} is neither a GGUF nor a safetensors file: it begins as neither of them{}",
         path.string(), kToDo);
  }
  if (!fs::is_directory(path) || is_checkpoint(path)) return open_huggingface_artifact(path);
  if (gguf_models_in(path).empty()) {
    refuse_lone_adapter(path);
    std::vector<std::string> below;
    for (const fs::path& folder : folders_with_models(path)) below.push_back(folder.filename());
    if (!below.empty())
      fail(ErrorKind::bad_input, "{} holds no model itself, but the folders {}; name one of them", path.string(),
           fmt::join(below, ", "));
  }
  Artifact a =
      open_gguf_artifact(gguf_model_in(path, "holds no model: neither a config.json with safetensors nor a GGUF file"));
  remark_on_adapter(path, a);
  return a;
}

}  // namespace kerf
