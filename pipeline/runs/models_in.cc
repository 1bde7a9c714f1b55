#include "pipeline/runs/models_in.h"

#include "pipeline/runs/model_path.h"
#include "verify/artifact.h"

namespace kerf {
namespace fs = std::filesystem;

std::vector<fs::path> models_in(const fs::path& path) {
  if (!fs::is_directory(path) || holds_model(path)) return {path};
  std::vector<fs::path> folders = folders_with_models(path);
  if (folders.empty()) folders = {path};
  return folders;
}

std::vector<fs::path> resolve_models(const std::string& model) { return models_in(resolve_model(model)); }

}  // namespace kerf
