// The small files beside tokenizer.json: which tokens are special, and the chat template.
#include <algorithm>

#include "core/file.h"
#include "core/json.h"
#include "model/text/tokenizer_field.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;

/// What one of the small files says, as far as it says it.
class SideFile {
 public:
  SideFile(const fs::path& directory, const char* file) : name_((directory / file).string()) {
    if (fs::exists(directory / file)) content_ = parse_json(read_text(directory / file), name_);
    if (!content_.is_null() && !content_.is_object()) Field{content_, name_}.wrong("an object");
  }
  /// A token given by its text, or as {"content": text}.
  std::optional<std::string> token(const char* key) const {
    if (content_.is_null() || !content_.contains(key) || content_[key].is_null()) return std::nullopt;
    const Field field{content_[key], name_ + "." + key};
    return field.value.is_object() ? field.required("content").text() : field.text();
  }
  /// Every key that ends in "_token" and names one.
  void add_tokens(std::vector<std::pair<std::string, std::string>>& named) const {
    if (content_.is_null()) return;
    for (const auto& [key, value] : content_.items()) {
      const bool is_token = value.is_string() || (value.is_object() && value.contains("content"));
      const auto known = [&k = key](const auto& pair) { return pair.first == k; };
      if (!std::string_view(key).ends_with("_token") || !is_token || std::any_of(named.begin(), named.end(), known))
        continue;
      named.emplace_back(key, *token(key.c_str()));
    }
  }
  /// An id, or the first of a list of ids.
  std::optional<int32_t> id(const char* key, size_t tokens) const {
    if (content_.is_null() || !content_.contains(key) || content_[key].is_null()) return std::nullopt;
    const json& value = content_[key];
    if (value.is_array() && value.empty()) return std::nullopt;
    return token_id({value.is_array() ? value[0] : value, name_ + "." + key}, tokens);
  }
  /// A template, or the one called "default" (else the first) of a list of named ones.
  std::string chat_template() const {
    if (content_.is_null() || !content_.contains("chat_template") || content_["chat_template"].is_null()) return "";
    const Field field{content_["chat_template"], name_ + ".chat_template"};
    if (!field.value.is_array()) return field.text();
    std::string first;
    for (const json& item : field.value) {
      const Field named{item, field.name + "[]"};
      const std::string text = named.required("template").text();
      if (named.required("name").text() == "default") return text;
      if (first.empty()) first = text;
    }
    return first;
  }

 private:
  std::string name_;
  json content_;
};

}  // namespace

TokenizerSpec read_tokenizer_spec(const fs::path& directory) {
  const fs::path path = directory / "tokenizer.json";
  if (!fs::exists(path)) {
    fail(ErrorKind::io, "{}: there is no tokenizer.json; kerf reads the format of Hugging Face tokenizers only",
         directory.string());
  }
  TokenizerSpec spec = parse_tokenizer_json(read_text(path), path.string());

  const SideFile config(directory, "tokenizer_config.json"), map(directory, "special_tokens_map.json"),
      generation(directory, "generation_config.json"), model(directory, "config.json");
  const auto find = [&](const char* name, const char* id_name) -> std::optional<int32_t> {
    for (const SideFile* file : {&config, &map}) {
      if (const auto token = file->token(name)) {
        const auto at = std::find(spec.tokens.begin(), spec.tokens.end(), *token);
        if (at != spec.tokens.end()) return static_cast<int32_t>(at - spec.tokens.begin());
      }
    }
    for (const SideFile* file : {&generation, &model}) {
      if (const auto id = file->id(id_name, spec.tokens.size())) return id;
    }
    return std::nullopt;
  };
  spec.bos = find("bos_token", "bos_token_id");
  spec.eos = find("eos_token", "eos_token_id");
  spec.pad = find("pad_token", "pad_token_id");
  if (!spec.bos && !spec.prefix.empty()) spec.bos = spec.prefix.front();
  spec.add_bos = spec.bos && !spec.prefix.empty() && spec.prefix.front() == *spec.bos;
  spec.add_eos = spec.eos && !spec.suffix.empty() && spec.suffix.back() == *spec.eos;

  config.add_tokens(spec.named_tokens);
  map.add_tokens(spec.named_tokens);

  spec.chat_template = config.chat_template();
  if (const fs::path jinja = directory / "chat_template.jinja"; fs::exists(jinja)) {
    spec.chat_template = read_text(jinja);
    require_utf8(spec.chat_template, jinja.string());
  }
  return spec;
}

}  // namespace kerf
