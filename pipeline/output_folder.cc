#include "pipeline/output_folder.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace fs = std::filesystem;

void check_output_folder(const fs::path& out, bool force, bool resume) {
  if (fs::exists(out) && !fs::is_directory(out))
    fail(ErrorKind::usage, "{} is a file; -o names a folder", out.string());
  if (force || !fs::exists(out) || (resume && fs::exists(out / kResumeFolder))) return;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (resume && (entry.is_directory() || entry.path().extension() == ".partial")) continue;
    fail(ErrorKind::usage,
         "the folder {} is not empty; choose another, or give --force to replace files in it, or --resume "
         "to go on with a calibrated run that was stopped",
         out.string());
  }
}

void remove_stale_weights(const fs::path& folder, std::span<const fs::path> written) {
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json"));
    if (weights && std::find(written.begin(), written.end(), entry.path()) == written.end())
      stale.push_back(entry.path());
  }
  for (const fs::path& file : stale) {
    note(fmt::format("removing {}, which belongs to an earlier run", file.string()));
    fs::remove(file);
  }
}

}  // namespace kerf
