// The cache is the one of huggingface_hub: models--ORG--NAME/refs/REVISION holds a commit id, snapshots/COMMIT the
// files.
#include "pipeline/runs/model_path.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "pipeline/repository/publication.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

fs::path hub_cache() {
  const auto variable = [](const char* name) {
    const char* v = std::getenv(name);
    return std::string(v ? v : "");
  };
  if (const auto dir = variable("HF_HUB_CACHE"); !dir.empty()) return dir;
  if (const auto home = variable("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  return fs::path(variable("HOME")) / ".cache" / "huggingface" / "hub";
}

struct HubId {
  std::string org, name, revision;
  std::string text() const { return org + "/" + name; }
};

// Letters, digits, '.', '_' and '-': nothing that a shell or a path would take apart.
bool plain(std::string_view s) {
  if (s.empty() || s == "." || s == ".." || s.front() == '-') return false;
  for (char c : s)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') return false;
  return true;
}

bool parse_hub_id(std::string_view text, HubId& id) {
  const size_t at = text.find('@');
  id.revision = at == std::string_view::npos ? "main" : std::string(text.substr(at + 1));
  text = text.substr(0, at);
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  id.org = text.substr(0, slash);
  id.name = text.substr(slash + 1);
  return plain(id.org) && plain(id.name) && plain(id.revision);
}

fs::path cached(const HubId& id) {
  const fs::path repo = hub_cache() / ("models--" + id.org + "--" + id.name);
  std::string commit = id.revision;
  if (fs::exists(repo / "refs" / id.revision)) {
    commit = read_text(repo / "refs" / id.revision, 4096);
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
  }
  const fs::path snapshot = repo / "snapshots" / commit;
  return plain(commit) && fs::exists(snapshot / "config.json") ? snapshot : fs::path();
}

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

}  // namespace

fs::path resolve_model(const std::string& model) {
  if (fs::exists(model)) {
    finish_publication(model);
    return model;
  }
  HubId id;
  if (!parse_hub_id(model, id))
    fail(ErrorKind::io, "there is no file or folder '{}', and it is not a hub id of the form org/name[@revision]",
         model);
  if (const fs::path found = cached(id); !found.empty()) return found;
  const std::string command = fmt::format("hf download {} --revision {}", id.text(), id.revision);
  if (installed("hf")) {
    note(fmt::format("{} is not in the hub cache; running: {}", model, command));
    // The parts are plain words (see above); the command's own output goes to stderr, stdout is for results.
    if (std::system((command + " 1>&2").c_str()) == 0)
      if (const fs::path found = cached(id); !found.empty()) return found;
  }
  fail(ErrorKind::io, "there is no folder '{}', and {} is not in the hub cache {}; download it with: {}", model,
       id.text(), hub_cache().string(), command);
}

std::string model_name(const std::string& model) {
  HubId id;
  if (!fs::exists(model) && parse_hub_id(model, id)) return id.name;
  fs::path p = fs::canonical(model);
  if (fs::is_regular_file(p)) {
    const fs::path folder = p.parent_path();
    p = p.stem() == "model" ? folder : p.stem();
  }
  return p.filename().string();
}

}  // namespace kerf
