// What `kerf compress` with several targets has left: a folder of folders, each with a model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kerf {

/// The path itself when it is a file or holds a model; else every folder in it that does, sorted by name. The path
/// itself also when there is none: whoever opens it says what is missing.
std::vector<std::filesystem::path> models_in(const std::filesystem::path&);
/// The same of MODEL on the command line (resolve_model()).
std::vector<std::filesystem::path> resolve_models(const std::string& model);

}  // namespace kerf
