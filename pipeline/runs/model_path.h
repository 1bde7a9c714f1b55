// MODEL on the command line: a folder, a file, or a hub id.
#pragma once

#include <filesystem>
#include <string>

namespace kerf {

struct ModelLocation {
  std::filesystem::path path;  // what open_artifact() takes
  std::string name;            // for output files: the repository's, the folder's or the file's own
  std::string org;             // whose repository of the hub (or of Ollama) it is; "": not known
  std::string repository;      // of the hub, "org/name"; "": not known
  std::string revision;        // the commit of the hub's snapshot; "": not known
};

/// Where a model lies. A folder or file that exists is itself, once what a stopped publication has left there is
/// finished; a folder of the hub's cache says its repository and commit.
/// "org/name[@revision][:FILE]" is looked up in the hub's cache (pipeline/runs/hub_cache.h), and fetched with the `hf`
/// command where that is installed. Of a repository with GGUF files only the one file is taken; FILE is the name of one
/// of several, or a part of it that no other has: Q4_K_M.
/// A manifest of Ollama's (manifests/HOST/USER/NAME/TAG), or a models folder of Ollama's with one model, is the blob
/// that the manifest names.
/// Error io with the command to run, or the likely id, when nothing is found; usage where several files fit.
ModelLocation locate_model(const std::string& model);

/// Its path alone.
std::filesystem::path resolve_model(const std::string& model);
/// Its name alone.
std::string model_name(const std::string& model);

}  // namespace kerf
