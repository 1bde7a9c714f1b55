// Ollama's models folder: manifests/HOST/NAMESPACE/NAME/TAG is JSON that names blobs/sha256-<digest>, which are GGUF
// files without a suffix among others. Source: ollama, manifest/manifest.go and paths.go.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kerf {

struct OllamaModel {
  std::filesystem::path manifest, blob;  // the blob may be missing
  std::string user, name, tag;           // user "" of the library's own
  bool adapted = false;                  // an adapter belongs to it, which lies in a blob of its own
  /// "name" or "name-tag".
  std::string file_name() const { return tag == "latest" ? name : name + "-" + tag; }
};

/// The model of a manifest; nullopt for any other file.
std::optional<OllamaModel> read_ollama_manifest(const std::filesystem::path&);
/// All models of a folder with manifests/ and blobs/ in it, by name; none for any other.
std::vector<OllamaModel> ollama_models_in(const std::filesystem::path& folder);
/// The first model whose weights are this blob.
std::optional<OllamaModel> ollama_model_of(const std::filesystem::path& blob);

}  // namespace kerf
