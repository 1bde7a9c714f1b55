#include "pipeline/runs/model_path.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <set>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "core/words.h"
#include "formats/gguf.h"
#include "pipeline/repository/publication.h"
#include "pipeline/runs/hub_cache.h"
#include "pipeline/runs/ollama_store.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr size_t kShownFiles = 12;

bool installed(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : "";
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const fs::path candidate = fs::path(rest.substr(0, colon)) / program;
    if (::access(candidate.c_str(), X_OK) == 0) return true;
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  }
  return false;
}

// A file's name without the extension of weights and without its number among several.
std::string stem_of(const fs::path& file) {
  std::string name = file.filename();
  for (const std::string_view extension : {".gguf", ".safetensors", ".safetensors.index.json"})
    if (name.ends_with(extension)) name.resize(name.size() - extension.size());
  static const std::regex number("-\\d{5}-of-\\d{5}$");
  return std::regex_replace(name, number, "");
}

// GGUF models in a snapshot, in folders as well.
std::vector<fs::path> gguf_models_below(const fs::path& snapshot) {
  std::vector<fs::path> found;
  const auto add = [&](const fs::path& folder) {
    for (fs::path& file : gguf_models_in(folder)) found.push_back(std::move(file));
  };
  add(snapshot);
  for (const auto& entry : fs::recursive_directory_iterator(snapshot))
    if (entry.is_directory()) add(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// The files that a word means: by its whole name, or by the end of it (…-Q4_K_M.gguf), or by a part.
std::vector<fs::path> meant(const std::vector<fs::path>& files, const fs::path& snapshot, const std::string& word) {
  const std::string w = lower_case(word);
  using Fits = bool (*)(const std::string& path, const std::string& stem, const std::string& w);
  constexpr Fits kFits[] = {
      [](const std::string& path, const std::string& stem, const std::string& w) {
        return path == w || stem == w || path.ends_with("/" + w);
      },
      [](const std::string&, const std::string& stem, const std::string& w) {
        return stem.size() > w.size() && stem.ends_with(w) &&
               std::string_view("-._").find(stem[stem.size() - w.size() - 1]) != std::string_view::npos;
      },
      [](const std::string& path, const std::string&, const std::string& w) { return path.find(w) != path.npos; }};
  for (const Fits fits : kFits) {
    std::vector<fs::path> found;
    for (const fs::path& file : files)
      if (fits(lower_case(file.lexically_relative(snapshot).string()), lower_case(stem_of(file)), w))
        found.push_back(file);
    if (!found.empty()) return found;
  }
  return {};
}

std::string listed(const std::vector<fs::path>& files, const fs::path& snapshot) {
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.lexically_relative(snapshot));
  return some_of(names, kShownFiles);
}

// The folder itself, or the GGUF file in it that is meant; "" when it has none of that name.
fs::path choose_file(const HubId& id, const fs::path& snapshot, bool say) {
  if (id.file.empty() && find_container("safetensors").recognises(snapshot)) return snapshot;
  const std::vector<fs::path> files = gguf_models_below(snapshot);
  if (files.empty() && id.file.empty()) return snapshot;
  const std::vector<fs::path> found = id.file.empty() ? files : meant(files, snapshot, id.file);
  if (found.empty()) return {};
  if (found.size() > 1)
    fail(ErrorKind::usage, "{} holds {} models in GGUF files ({}); say which, by a word of its name: {}{}:{}",
         id.repository(), found.size(), listed(found, snapshot), id.repository(),
         id.revision == "main" ? "" : "@" + id.revision, stem_of(found.front()));
  if (say && id.file.empty())
    note(fmt::format("{}: reading {}, the only model there", id.repository(),
                     found.front().lexically_relative(snapshot).string()));
  return found.front();
}

ModelLocation of_ollama(const OllamaModel& m, const fs::path& path, bool say) {
  if (!fs::exists(path))
    fail(ErrorKind::io, "{} names {}, which is not there; pull the model again", m.manifest.string(), path.string());
  static std::set<fs::path> said;  // a run looks for its model more than once
  if (say && m.adapted && said.insert(m.manifest).second)
    warn(
        fmt::format("{} has an adapter (LoRA), which is left out; only its model is read: to compress the adapted "
                    "model, merge it ({}) and give the result",
                    m.manifest.string(), kMergesAdapters));
  return {.path = path, .name = m.file_name(), .org = m.user, .repository = "", .revision = ""};
}

ModelLocation of_path(const fs::path& given, bool say) {
  finish_publication(given);
  if (fs::is_directory(given)) {
    if (const fs::path snapshot = snapshot_in(given); !snapshot.empty()) return of_path(snapshot, say);
    const std::vector<OllamaModel> models = ollama_models_in(given);
    if (models.size() == 1) return of_ollama(models.front(), models.front().blob, say);
    std::string names;
    for (const OllamaModel& m : models) names += fmt::format("\n  {}:{}  {}", m.name, m.tag, m.manifest.string());
    if (!models.empty())
      fail(ErrorKind::usage, "{} holds {} models of Ollama; give the manifest of one of them:{}", given.string(),
           models.size(), names);
  } else {
    if (const auto m = read_ollama_manifest(given)) return of_ollama(*m, m->blob, say);
    if (const auto m = ollama_model_of(given)) return of_ollama(*m, given, say);
  }
  ModelLocation l{.path = given, .name = "", .org = "", .repository = "", .revision = ""};
  // Files in a snapshot are links to blobs without names; links to a snapshot lead to it.
  std::optional<HubId> id = hub_id_of(given);
  if (!id) id = hub_id_of(fs::canonical(given));
  if (id) {
    l.org = id->org;
    l.repository = id->repository();
    l.revision = id->revision;
    l.name = id->name;
    if (fs::is_directory(given)) l.path = choose_file(*id, given, say);
  }
  if (!fs::is_directory(l.path)) {
    const std::string stem = stem_of(l.path);
    if (stem != "model") l.name = stem;
  }
  if (!l.name.empty()) return l;
  const fs::path folder = fs::canonical(fs::is_directory(given) ? given : fs::absolute(given).parent_path());
  l.name = folder.filename();
  return l;
}

[[noreturn]] void fail_not_found(const std::string& model) {
  const std::string likely = likely_repository(model);
  fail(ErrorKind::io, "there is no file or folder '{}', and a hub id has the form org/name[@revision][:FILE]{}", model,
       likely.empty() ? "" : fmt::format("; did you mean {}?", likely));
}

ModelLocation locate(const std::string& model, bool say) {
  if (fs::exists(model)) return of_path(model, say);
  const std::optional<HubId> id = parse_hub_id(model);
  if (!id) {
    const HubId alone{.org = "", .name = model};
    const bool path_like = model.empty() || model.find('/') != std::string::npos;
    if (const fs::path found = path_like ? fs::path() : cached_snapshot(alone); !found.empty())
      return of_path(found, say);
    fail_not_found(model);
  }
  const auto find = [&]() -> fs::path {
    const fs::path snapshot = cached_snapshot(*id);
    return snapshot.empty() ? fs::path() : choose_file(*id, snapshot, say);
  };
  if (const fs::path found = find(); !found.empty()) return of_path(found, say);
  std::string command = fmt::format("hf download {} --revision {}", id->repository(), id->revision);
  // Repositories of GGUF files hold one model many times.
  const bool which = id->file.empty() && lower_case(id->name).find("gguf") != std::string::npos;
  if (!id->file.empty() || which) command += fmt::format(" --include '*{}*'", which ? "Q4_K_M" : id->file);
  if (say && !which && installed("hf")) {
    note(fmt::format("{} is not in the hub cache; running: {}", model, command));
    // The parts are plain words (hub_cache.h); the command's own output goes to stderr, stdout is for results.
    if (std::system((command + " 1>&2").c_str()) == 0)
      if (const fs::path found = find(); !found.empty()) return of_path(found, say);
  }
  const fs::path snapshot = cached_snapshot(*id);
  const std::vector<fs::path> others = snapshot.empty() ? std::vector<fs::path>() : gguf_models_below(snapshot);
  const std::string likely = likely_repository(id->repository());
  std::string more;
  if (!others.empty()) more += fmt::format(", where there are {}", listed(others, snapshot));
  more += "; download it with: " + command;
  if (which) more += fmt::format(", and then say {}:Q4_K_M, or another of its files", id->repository());
  if (!likely.empty() && likely != id->repository()) more += fmt::format("; or did you mean {}?", likely);
  fail(ErrorKind::io, "there is no folder '{}', and {}{}{} is not in the hub cache {}{}", model, id->repository(),
       id->revision == "main" ? "" : "@" + id->revision, id->file.empty() ? "" : ":" + id->file, hub_cache().string(),
       more);
}

}  // namespace

ModelLocation locate_model(const std::string& model) { return locate(model, true); }
fs::path resolve_model(const std::string& model) { return locate_model(model).path; }
std::string model_name(const std::string& model) { return locate(model, false).name; }

}  // namespace kerf
