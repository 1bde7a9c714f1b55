#include "pipeline/repository/output_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "pipeline/repository/publication.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kLongestReport = uint64_t{64} << 20;

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

bool same(const fs::path& a, const fs::path& b) {
  std::error_code none;
  return fs::equivalent(a, b, none);
}

// Where links lead to; as it is when there is nothing.
fs::path resolved(const fs::path& p) {
  std::error_code none;
  const fs::path real = fs::canonical(p, none);
  return none ? p : real;
}

bool lies_in(const fs::path& file, const fs::path& folder) {
  const fs::path real = resolved(file), below = resolved(folder);
  return std::mismatch(below.begin(), below.end(), real.begin(), real.end()).first == below.end();
}

// Relative, in the folder, and not through a link.
bool leads_into(const fs::path& out, const fs::path& name) {
  if (name.empty() || name.is_absolute()) return false;
  fs::path at = out;
  for (const fs::path& part : name) {
    if (part == ".." || part == "." || part.empty()) return false;
    if (at != out && !fs::is_directory(fs::symlink_status(at))) return false;
    at /= part;
  }
  return true;
}

struct ReportedFile {
  std::string name, sha256;
  uint64_t bytes = 0;
};

// As a report of kerf lists them; none when it is not one.
std::vector<ReportedFile> reported_files(const fs::path& report) {
  std::error_code none;
  const uint64_t size = fs::file_size(report, none);
  if (none || size > kLongestReport) return {};
  const nlohmann::ordered_json j = parse_json_or_discard(read_text(report, kLongestReport));
  // What is not where a report of kerf has it is no name.
  const auto list = [](const nlohmann::ordered_json& of, const char* key) {
    return of.is_object() && of.contains(key) && of[key].is_array() ? of[key] : nlohmann::ordered_json::array();
  };
  std::vector<ReportedFile> files;
  for (const nlohmann::ordered_json& target : list(j, "targets"))
    for (const nlohmann::ordered_json& file : list(target, "files"))
      if (file.is_object() && file.contains("name") && file["name"].is_string() && file.contains("sha256") &&
          file["sha256"].is_string() && file.contains("bytes") && file["bytes"].is_number_unsigned())
        files.push_back({file["name"], file["sha256"], file["bytes"]});
  return files;
}

bool unchanged(const fs::path& file, const ReportedFile& said) {
  std::error_code none;
  return fs::file_size(file, none) == said.bytes && !none && sha256_of(file) == said.sha256;
}

// A file, not a folder, and in the output folder.
bool is_file_in(const fs::path& out, const fs::path& name) {
  if (!leads_into(out, name)) return false;
  const fs::file_status found = fs::symlink_status(out / name);
  return fs::exists(found) && !fs::is_directory(found);
}

// Of a destination's folder: names that its kind owns, relative to the output folder.
std::set<fs::path> owned_files(const fs::path& out, std::span<const Destination> destinations) {
  std::set<fs::path> files;
  for (const Destination& d : destinations) {
    if (!fs::is_directory(out / d.folder)) continue;
    for (const auto& entry : fs::directory_iterator(out / d.folder)) {
      const fs::path name = fs::path(d.folder) / entry.path().filename();
      if (d.kind->owns(entry.path().filename().string(), d.weights) && is_file_in(out, name)) files.insert(name);
    }
  }
  return files;
}

// Whatever a run might replace or remove.
std::set<fs::path> files_in_danger(const fs::path& out, std::span<const Destination> destinations) {
  std::set<fs::path> files = owned_files(out, destinations);
  const auto add = [&](const fs::path& name) {
    if (is_file_in(out, name)) files.insert(name);
  };
  add(kReportFile);
  for (const char* about : {kCardFile, kReportFile}) {
    for (const Destination& d : destinations) add(fs::path(d.folder) / about);
    for (const ReportedFile& file : reported_files(out / kReportFile)) {
      add(file.name);
      add(fs::path(file.name).parent_path() / about);
    }
  }
  return files;
}

}  // namespace

bool is_private(const fs::path& name) {
  return name == kStagingFolder || name == kResumeFolder || name == kJournal ||
         (name.string().starts_with(".kerf-") && name.extension() == ".partial");
}

void check_output_folder(const fs::path& out, bool force, bool resume) {
  if (fs::exists(out) && !fs::is_directory(out))
    fail(ErrorKind::usage, "{} is a file; -o names a folder", out.string());
  finish_publication(out);
  if (force || !fs::exists(out) || (resume && fs::exists(out / kResumeFolder))) return;
  if (resume && fs::exists(out / kReportFile))
    fail(ErrorKind::usage,
         "the run in {} is complete, so there is nothing to go on with; choose another folder for a new run, or give "
         "--force to replace its files",
         out.string());
  for (auto entry = fs::recursive_directory_iterator(out); entry != fs::recursive_directory_iterator(); ++entry) {
    const fs::path name = entry->path().filename();
    if (entry.depth() == 0 && is_private(name) && name != kResumeFolder) {  // left by a run that was stopped
      entry.disable_recursion_pending();
      continue;
    }
    if (resume && (entry->is_directory() || name.extension() == ".partial")) continue;
    const bool stopped = fs::exists(out / kResumeFolder);  // then not `resume`
    fail(ErrorKind::usage, "the folder {} {}; choose another, or give --force to {}{}", out.string(),
         stopped  ? "holds what a calibrated run has saved that was stopped"
         : resume ? "is not empty, and holds nothing of a calibrated run that was stopped"
                  : "is not empty",
         stopped ? "begin anew" : "replace files in it", stopped ? ", or --resume to go on with that run" : "");
  }
}

EarlierFiles earlier_files(const fs::path& out, std::span<const Destination> destinations,
                           const std::set<fs::path>& written) {
  EarlierFiles files;
  const std::set<fs::path> owned = owned_files(out, destinations);
  const auto stays = [&](const fs::path& name) { return !written.contains(name) && is_file_in(out, name); };
  for (const ReportedFile& file : reported_files(out / kReportFile)) {
    if (!stays(file.name)) continue;
    if (unchanged(out / file.name, file))
      files.of_kerf.insert(file.name);
    else if (!owned.contains(file.name))
      files.changed.insert(file.name);
  }
  // Cards and report tell of weights that go.
  for (const fs::path& name : std::set<fs::path>(files.of_kerf))
    for (const char* about : {kCardFile, kReportFile})
      if (const fs::path file = name.parent_path() / about; stays(file)) files.of_kerf.insert(file);
  if (stays(kReportFile)) files.of_kerf.insert(kReportFile);
  for (const fs::path& name : owned)
    if (stays(name) && !files.of_kerf.contains(name)) files.foreign.insert(name);
  return files;
}

void refuse_foreign(const fs::path& out, const EarlierFiles& files) {
  if (files.foreign.empty()) return;
  std::vector<std::string> names;
  for (const fs::path& name : files.foreign) names.push_back(name.string());
  fail(ErrorKind::usage,
       "{} holds files that no run of kerf wrote, or that were changed since, and a runtime would load them together "
       "with the new ones: {}; move them away, or give another -o",
       out.string(), fmt::join(names, ", "));
}

void refuse_inputs(const fs::path& out, std::span<const Destination> destinations, const Inputs& inputs) {
  std::vector<fs::path> folders = {out};
  for (const Destination& d : destinations) folders.push_back(out / d.folder);
  for (const fs::path& file : inputs.model)
    for (const fs::path& folder : folders)
      if (same(folder, folder_of(file)) || same(folder, folder_of(resolved(file))))
        fail(ErrorKind::usage,
             "{} holds the model that is read ({}), and files of its would be replaced; give another -o",
             folder.string(), file.filename().string());
  if (!fs::is_directory(out)) return;
  std::vector<fs::path> all(inputs.model.begin(), inputs.model.end());
  all.insert(all.end(), inputs.others.begin(), inputs.others.end());
  const std::set<fs::path> earlier = files_in_danger(out, destinations);
  for (const fs::path& file : all) {
    for (const fs::path& name : earlier)
      if (same(out / name, file))
        fail(ErrorKind::usage, "{} is read, and as {} it would be replaced or removed; give another -o", file.string(),
             (out / name).string());
    for (const fs::path& cleared : {out / kStagingFolder, out / kResumeFolder, replaced_folder(out)})
      if (lies_in(file, cleared))
        fail(ErrorKind::usage, "{} is read, and {} is cleared by this run; move the file, or give another -o",
             file.string(), cleared.string());
  }
}

void refuse_inputs(const fs::path& named, const Inputs& inputs) {
  const fs::path file = writable_file(named), partial = partial_name(file);
  const auto refuse_if_replaced = [&](const fs::path& input) {
    if (same(file, input) || same(partial, input))
      fail(ErrorKind::usage, "{} is a file that is read ({}), and it would be replaced; give another name",
           named.string(), input.string());
  };
  for (const fs::path& input : inputs.others) refuse_if_replaced(input);
  for (const fs::path& input : inputs.model) {
    refuse_if_replaced(input);
    // Its companions: config.json, the tokenizer.
    for (const fs::path& folder : {folder_of(input), folder_of(resolved(input))}) {
      if (!fs::is_directory(folder)) continue;
      for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename();
        const bool owned = std::any_of(all_repositories().begin(), all_repositories().end(),
                                       [&](const Repository* kind) { return kind->owns(name, ""); });
        if (owned) refuse_if_replaced(entry.path());
      }
    }
  }
}

}  // namespace kerf
