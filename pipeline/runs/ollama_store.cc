#include "pipeline/runs/ollama_store.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr uint64_t kLongestManifest = uint64_t{1} << 20;
constexpr const char *kManifests = "manifests", *kBlobs = "blobs";
constexpr std::string_view kWeights = "application/vnd.ollama.image.model",
                           kAdapter = "application/vnd.ollama.image.adapter";

bool is_digest(std::string_view s) {
  constexpr std::string_view kPrefix = "sha256:";
  return s.starts_with(kPrefix) && s.size() > kPrefix.size() &&
         s.find_first_not_of("0123456789abcdefABCDEF", kPrefix.size()) == std::string_view::npos;
}

}  // namespace

std::optional<OllamaModel> read_ollama_manifest(const fs::path& file) {
  std::error_code none;
  const fs::path path = fs::absolute(file).lexically_normal();
  const fs::path model = path.parent_path(), user = model.parent_path(), host = user.parent_path(),
                 manifests = host.parent_path();
  if (manifests.filename() != kManifests || !fs::is_regular_file(path, none)) return std::nullopt;
  const uint64_t size = fs::file_size(path, none);
  if (none || size > kLongestManifest) return std::nullopt;
  const nlohmann::ordered_json j = parse_json_or_discard(read_text(path, kLongestManifest));
  if (!j.is_object() || !j.contains("layers") || !j["layers"].is_array()) return std::nullopt;
  OllamaModel m{.manifest = path,
                .blob = {},
                .user = user.filename() == "library" ? "" : user.filename().string(),
                .name = model.filename(),
                .tag = path.filename()};
  for (const auto& layer : j["layers"]) {
    if (!layer.is_object()) continue;
    const auto text = [&](const char* key) {
      return layer.contains(key) && layer[key].is_string() ? layer[key].template get<std::string>() : "";
    };
    if (text("mediaType") == kAdapter) m.adapted = true;
    std::string digest = text("digest");
    if (text("mediaType") != kWeights || !m.blob.empty() || !is_digest(digest)) continue;
    std::replace(digest.begin(), digest.end(), ':', '-');
    m.blob = manifests.parent_path() / kBlobs / digest;
  }
  return m.blob.empty() ? std::nullopt : std::optional(m);
}

std::vector<OllamaModel> ollama_models_in(const fs::path& folder) {
  std::error_code none;
  std::vector<OllamaModel> models;
  if (!fs::is_directory(folder / kManifests, none) || !fs::is_directory(folder / kBlobs, none)) return models;
  for (fs::recursive_directory_iterator it(folder / kManifests, none), end; !none && it != end; it.increment(none))
    try {
      if (auto m = read_ollama_manifest(it->path())) models.push_back(std::move(*m));
    } catch (const Error& e) {
      warn(fmt::format("{}; models that it names are not known here", e.what()));
    }
  std::sort(models.begin(), models.end(),
            [](const OllamaModel& a, const OllamaModel& b) { return a.manifest < b.manifest; });
  return models;
}

std::optional<OllamaModel> ollama_model_of(const fs::path& blob) {
  const fs::path path = fs::absolute(blob).lexically_normal();
  if (path.parent_path().filename() != kBlobs) return std::nullopt;
  for (OllamaModel& m : ollama_models_in(path.parent_path().parent_path()))
    if (m.blob.filename() == path.filename()) return std::move(m);
  return std::nullopt;
}

}  // namespace kerf
