// The cache of huggingface_hub: models--ORG--NAME/refs/REVISION holds a commit, snapshots/COMMIT the files. It lies in
// $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, the
// first of these that is set. Source: huggingface_hub, constants.py and file_download.py.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace kerf {

/// "org/name[@revision][:FILE]". All parts are plain words (letters, digits, '.', '_', '-'), a revision several with
/// '/' between them, as refs/pr/1.
struct HubId {
  std::string org, name;  // org is "" of the few repositories that have none
  std::string revision = "main";
  std::string file = {};  // of the repository, or a part of its name; "": not said
  std::string repository() const { return org.empty() ? name : org + "/" + name; }
};

/// nullopt when the text has another form. Takes the address of a repository's page, too: scheme://host/org/name and
/// what follows of /tree/REVISION, with the hub's hosts (hf.co, huggingface.co) also without the scheme; and
/// hf://org/name.
std::optional<HubId> parse_hub_id(std::string_view text);

std::filesystem::path hub_cache();
/// The snapshot of the revision with a config.json, a tokenizer.json or a GGUF file in it; "" when it is not there. A
/// revision may be the beginning of a commit.
std::filesystem::path cached_snapshot(const HubId&);
/// The repository and commit (as revision) that a path inside of a snapshot belongs to.
std::optional<HubId> hub_id_of(const std::filesystem::path&);
/// For a folder models--ORG--NAME: the snapshot of main, or the only one; "" for any other.
std::filesystem::path snapshot_in(const std::filesystem::path& repository_folder);
/// What a name without its organisation probably means: a repository in the cache, else by the beginning of the name;
/// "" where nothing is known.
std::string likely_repository(std::string_view name);

}  // namespace kerf
