#include "pipeline/repository/output_folder.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/log.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

// STEM-00001-of-00002.EXTENSION
bool is_shard(std::string_view file, std::string_view stem, std::string_view extension) {
  constexpr std::string_view kPattern = "-ddddd-of-ddddd";
  if (file.size() != stem.size() + kPattern.size() + extension.size() || !file.starts_with(stem) ||
      !file.ends_with(extension))
    return false;
  file = file.substr(stem.size(), kPattern.size());
  return std::equal(file.begin(), file.end(), kPattern.begin(),
                    [](char c, char wanted) { return wanted == 'd' ? c >= '0' && c <= '9' : c == wanted; });
}

}  // namespace

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

void refuse_source_folder(const fs::path& out, std::span<const fs::path> source) {
  for (const fs::path& file : source) {
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    std::error_code none;
    if (fs::equivalent(out, folder, none))
      fail(ErrorKind::usage,
           "{} holds the model that is read ({}), and files of its would be replaced; give another -o", out.string(),
           file.filename().string());
  }
}

void remove_stale_weights(const fs::path& folder, const std::string& name, std::span<const fs::path> written) {
  const std::string stem = fs::path(name).stem(), extension = fs::path(name).extension();
  const auto is_ours = [&](const std::string& file) {
    return file == name || is_shard(file, stem, extension) ||
           (extension == ".safetensors" && file == name + ".index.json");
  };
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_ours(entry.path().filename()) && std::find(written.begin(), written.end(), entry.path()) == written.end())
      stale.push_back(entry.path());
  }
  for (const fs::path& file : stale) {
    warn(fmt::format("removing {}, weights of an earlier run that a loader would read", file.string()));
    fs::remove(file);
  }
}

}  // namespace kerf
