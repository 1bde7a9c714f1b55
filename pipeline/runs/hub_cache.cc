#include "pipeline/runs/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/file.h"
#include "core/words.h"
#include "formats/gguf.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "models--", kSnapshots = "snapshots";
constexpr size_t kShortestCommit = 7;

std::string variable(const char* name) {
  const char* v = std::getenv(name);
  return v ? v : "";
}

// "~" at the beginning and $NAME or ${NAME} anywhere, as huggingface_hub does.
std::string expanded(std::string text) {
  if (text == "~" || text.starts_with("~/")) text = variable("HOME") + text.substr(1);
  for (size_t at = 0; (at = text.find('$', at)) != std::string::npos;) {
    const bool braces = at + 1 < text.size() && text[at + 1] == '{';
    const size_t begin = at + 1 + braces;
    size_t end = begin;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) ++end;
    const bool named = end > begin && (!braces || (end < text.size() && text[end] == '}'));
    const std::string name = text.substr(begin, end - begin);
    if (!named || !std::getenv(name.c_str())) {
      ++at;
      continue;
    }
    text.replace(at, end + braces - at, variable(name.c_str()));
    at += variable(name.c_str()).size();
  }
  return text;
}

// Nothing that a shell or a path would take apart.
bool plain(std::string_view s) {
  if (s.empty() || s == "." || s == ".." || s.front() == '-') return false;
  return std::all_of(s.begin(), s.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t slash = text.find('/');
    parts.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    text.remove_prefix(slash + 1);
  }
}

bool plain_path(std::string_view text) {
  const auto parts = parts_of(text);
  return std::all_of(parts.begin(), parts.end(), plain);
}

// scheme://host/org/name/tree/main -> org/name@main; the hub's own addresses need no scheme (llama.cpp, Ollama).
std::string from_address(std::string_view text) {
  const size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) {
    for (const std::string_view host : {"hf.co/", "huggingface.co/"})
      if (lower_case(text.substr(0, host.size())) == host) return from_address(fmt::format("https://{}", text));
    return std::string(text);
  }
  std::string_view rest = text.substr(scheme + 3);
  if (text.starts_with("http")) rest.remove_prefix(std::min(rest.find('/'), rest.size() - 1) + 1);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const auto parts = parts_of(rest);
  if (parts.size() < 2) return std::string(rest);
  std::string id = fmt::format("{}/{}", parts[0], parts[1]);
  if (parts.size() > 3 && (parts[2] == "tree" || parts[2] == "blob" || parts[2] == "resolve"))
    id += fmt::format("@{}", parts[3]);
  if (parts.size() > 4 && parts[2] != "tree") id += fmt::format(":{}", parts.back());
  return id;
}

std::optional<HubId> from_folder(const std::string& folder) {
  if (!folder.starts_with(kPrefix)) return std::nullopt;
  const std::string rest = folder.substr(kPrefix.size());
  const size_t at = rest.find("--");
  if (at == std::string::npos) return HubId{.org = "", .name = rest};
  return HubId{.org = rest.substr(0, at), .name = rest.substr(at + 2)};
}

fs::path folder_of(const HubId& id) {
  return hub_cache() / (std::string(kPrefix) + (id.org.empty() ? "" : id.org + "--") + id.name);
}

std::string commit_of(const fs::path& repository, const std::string& revision) {
  std::error_code none;
  if (fs::is_regular_file(repository / "refs" / revision, none)) {
    std::string commit = read_text(repository / "refs" / revision, 4096);
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
    return commit;
  }
  std::vector<std::string> found;
  if (revision.size() >= kShortestCommit)
    for (fs::directory_iterator it(repository / kSnapshots, none), end; !none && it != end; it.increment(none))
      if (it->path().filename().string().starts_with(revision)) found.push_back(it->path().filename());
  return found.size() == 1 ? found.front() : revision;
}

bool is_complete_snapshot(const fs::path& snapshot) {
  if (fs::exists(snapshot / "config.json") || fs::exists(snapshot / "tokenizer.json")) return true;
  std::error_code none;
  for (fs::recursive_directory_iterator it(snapshot, none), end; !none && it != end; it.increment(none))
    if (is_gguf(it->path())) return true;
  return false;
}

// Organisations of the models that people name without them.
struct Known {
  std::string_view prefix, org;
};
constexpr Known kKnown[] = {{"smollm", "HuggingFaceTB"},  {"qwen", "Qwen"},
                            {"tinyllama", "TinyLlama"},   {"llama", "meta-llama"},
                            {"meta-llama", "meta-llama"}, {"gemma", "google"}};

}  // namespace

fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string folder = variable(name); !folder.empty()) return expanded(folder);
  if (const std::string home = variable("HF_HOME"); !home.empty()) return fs::path(expanded(home)) / "hub";
  const std::string cache = variable("XDG_CACHE_HOME");
  return (cache.empty() ? fs::path(variable("HOME")) / ".cache" : fs::path(expanded(cache))) / "huggingface" / "hub";
}

std::optional<HubId> parse_hub_id(std::string_view given) {
  const std::string id_text = from_address(given);
  std::string_view text = id_text;
  HubId id;
  if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    id.file = text.substr(colon + 1);
    text = text.substr(0, colon);
    if (!plain_path(id.file)) return std::nullopt;
  }
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    id.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  const auto parts = parts_of(text);
  if (parts.size() != 2 || !plain(parts[0]) || !plain(parts[1]) || !plain_path(id.revision)) return std::nullopt;
  id.org = parts[0];
  id.name = parts[1];
  return id;
}

fs::path cached_snapshot(const HubId& id) {
  const fs::path repository = folder_of(id);
  const std::string commit = commit_of(repository, id.revision);
  const fs::path snapshot = repository / kSnapshots / commit;
  return plain(commit) && is_complete_snapshot(snapshot) ? snapshot : fs::path();
}

std::optional<HubId> hub_id_of(const fs::path& path) {
  const fs::path p = fs::absolute(path).lexically_normal();
  for (auto it = p.begin(); it != p.end(); ++it) {
    auto next = std::next(it);
    if (next == p.end() || *next != kSnapshots || std::next(next) == p.end() || std::next(next)->empty()) continue;
    std::optional<HubId> id = from_folder(*it);
    if (!id) continue;
    id->revision = std::next(next)->string();
    return id;
  }
  return std::nullopt;
}

fs::path snapshot_in(const fs::path& folder) {
  std::error_code none;
  const fs::path p = fs::absolute(folder).lexically_normal();
  const std::string name = p.has_filename() ? p.filename() : p.parent_path().filename();
  if (!name.starts_with(kPrefix) || !fs::is_directory(p / kSnapshots, none)) return {};
  const fs::path snapshot = p / kSnapshots / commit_of(p, "main");
  if (fs::is_directory(snapshot, none)) return snapshot;
  std::vector<fs::path> all;
  for (fs::directory_iterator it(p / kSnapshots, none), end; !none && it != end; it.increment(none))
    all.push_back(it->path());
  return all.size() == 1 ? all.front() : fs::path();
}

std::string likely_repository(std::string_view name) {
  std::error_code none;
  for (fs::directory_iterator it(hub_cache(), none), end; !none && it != end; it.increment(none))
    if (const auto id = from_folder(it->path().filename()))
      if (lower_case(id->name) == lower_case(name) || lower_case(id->repository()) == lower_case(name))
        return id->repository();
  if (name.find('/') != std::string_view::npos) return "";
  for (const Known& known : kKnown)
    if (lower_case(name).starts_with(known.prefix)) return fmt::format("{}/{}", known.org, name);
  return "";
}

}  // namespace kerf
