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
  if (resume && fs::exists(out / kReportFile))
    fail(ErrorKind::usage,
         "the run in {} is complete, so there is nothing to go on with; choose another folder for a new run, or give "
         "--force to replace its files",
         out.string());
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (resume && (entry.is_directory() || entry.path().extension() == ".partial")) continue;
    fail(ErrorKind::usage, "the folder {} is not empty{}; choose another, or give --force to replace files in it{}",
         out.string(), resume ? ", and holds nothing of a calibrated run that was stopped" : "",
         resume ? "" : ", or --resume to go on with a calibrated run that was stopped");
  }
}

void remove_stale_weights(const fs::path& folder, const std::string& name, std::span<const fs::path> written) {
  const std::string stem = fs::path(name).stem();
  const auto is_ours = [&](const std::string& file) {
    if (name.empty())
      return file.starts_with("model") && (file.ends_with(".safetensors") || file.ends_with(".index.json"));
    constexpr size_t kShardDigits = std::string_view("-00001-of-00002.gguf").size();
    return file == name || (file.starts_with(stem + "-") && file.size() == stem.size() + kShardDigits &&
                            file.substr(stem.size() + 6, 4) == "-of-" && file.ends_with(".gguf"));
  };
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_ours(entry.path().filename()) && std::find(written.begin(), written.end(), entry.path()) == written.end())
      stale.push_back(entry.path());
  }
  for (const fs::path& file : stale) {
    note(fmt::format("removing {}, which belongs to an earlier run", file.string()));
    fs::remove(file);
  }
}

}  // namespace kerf
