#include "pipeline/runs/models_in.h"

#include <algorithm>

#include "formats/gguf.h"
#include "pipeline/repository/output_folder.h"
#include "pipeline/runs/model_path.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

bool holds_model(const fs::path& folder) {
  return fs::exists(folder / "config.json") || !gguf_models_in(folder).empty();
}

}  // namespace

std::vector<fs::path> models_in(const fs::path& path) {
  if (!fs::is_directory(path) || holds_model(path)) return {path};
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_directory() && !is_private(entry.path().filename()) && holds_model(entry.path()))
      folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  return folders.empty() ? std::vector<fs::path>{path} : folders;
}

std::vector<fs::path> resolve_models(const std::string& model) { return models_in(resolve_model(model)); }

}  // namespace kerf
