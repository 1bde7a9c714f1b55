// Whose model was read, and on which terms it is given away: for the model card and the report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "verify/artifact.h"

namespace kerf {

/// Fields that nothing is known of are empty.
struct SourceIdentity {
  std::string name;                      // as output files are called
  std::string hub_id;                    // "org/name"
  std::string revision;                  // the commit of the hub's repository
  std::vector<std::string> base_models;  // of a model that is quantized already: what its card says it was made from
  /// As the front matter of the hub has them; license_name and license_link belong to the license "other".
  std::string license, license_name, license_link;
  std::string license_said_by;  // "its model card", "its file LICENSE", "its GGUF metadata"
  std::vector<std::string> languages;
};

/// A file that a run has read beside the model, or a file of the model.
struct InputFile {
  std::string key;   // of recipes ("calib.text"), or "model"
  std::string name;  // without the folder
  uint64_t bytes = 0;
  std::string sha256;
};
/// Error io when it cannot be read.
InputFile describe_input(const std::string& key, const std::filesystem::path&);

/// The rest: the commit, where it is not known, from what `hf download --local-dir` has left; licence and languages
/// from the front matter of README.md in the source's folder, else from the keys general.license and general.languages
/// of a GGUF, else from the words of a licence file beside it. Front matter that is no YAML is passed over with a
/// warning.
SourceIdentity identify(const Artifact& source, const std::string& name, const std::string& hub_id,
                        const std::string& revision);

/// Files that say on which terms a model is given away, such as LICENSE, LICENSE.txt, NOTICE, COPYING or USE_POLICY.md:
/// those in the folder, sorted.
std::vector<std::filesystem::path> licence_files(const std::filesystem::path& folder);
/// The hub's name of the licence with these words: "apache-2.0"; "" for any that is not among the usual ones.
std::string licence_with_words(std::string_view text);
/// The folder in which the companions of a model lie.
std::filesystem::path folder_of_model(const std::filesystem::path& model);

}  // namespace kerf
