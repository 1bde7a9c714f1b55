// One of the small files beside tokenizer.json, as far as it is there and says something.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/text/tokenizer_field.h"

namespace kerf {

class SideFile {
 public:
  /// Error bad_input when the file is no JSON object.
  SideFile(const std::filesystem::path& directory, const char* file);
  /// One of files in memory, which errors place in `directory`.
  SideFile(const TokenizerFiles&, const std::filesystem::path& directory, const char* file);

  /// What stands under the key; nullopt when that is nothing or null, or there is no file.
  std::optional<Field> find(const char* key) const;
  const std::string& name() const { return name_; }
  const nlohmann::json& content() const { return content_; }  // null without a file
  /// The keys in the order of the file; with a key those of the object under it.
  std::vector<std::string> keys_in_order(const char* key = nullptr) const;

  /// An id, or those of a list, and none below 0.
  std::vector<int64_t> ids(const char* key) const;
  /// A template, or the one called "default" (else the first) of a list of named ones.
  std::string chat_template() const;

 private:
  void parse(std::string text);

  std::string name_, text_;
  nlohmann::json content_;
};

/// Token named there, by its text or as an object with "content"; of an object also its flags.
/// `special`: what it is unless the object says otherwise.
AddedToken token_in(const Field&, bool special);

/// Takes up tokens that tokenizer_config.json, special_tokens_map.json and added_tokens.json have beside those of
/// tokenizer.json, as AutoTokenizer of transformers 5.23 does, and names them (spec.named_tokens). An id that the files
/// give to a token is a claim: the tokenizers library numbers added tokens itself, and where the two differ
/// spec.remarks says so.
void add_tokens_beside(TokenizerSpec&, const SideFile& config, const SideFile& map, const SideFile& added);

}  // namespace kerf
