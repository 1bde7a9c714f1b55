// MODEL on the command line: a folder, a file, or a hub id.
#pragma once

#include <filesystem>
#include <string>

namespace kerf {

/// A folder or file that exists is itself, once what a stopped publication has left there is finished.
/// "org/name[@revision]" is looked up in the hub cache ($HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub); when
/// it is not there and the `hf` command is installed, `hf download` is run. Error io with the command to run otherwise.
std::filesystem::path resolve_model(const std::string& model);

/// A name for output files: the folder's or file's own, or the hub id's last part.
std::string model_name(const std::string& model);

}  // namespace kerf
