#include "model/text/tokenizer_side_file.h"

#include "core/file.h"
#include "core/json.h"

namespace kerf {

using json = nlohmann::json;

SideFile::SideFile(const std::filesystem::path& directory, const char* file) : name_((directory / file).string()) {
  if (std::filesystem::exists(directory / file)) parse(read_text(directory / file));
}

SideFile::SideFile(const TokenizerFiles& files, const std::filesystem::path& directory, const char* file)
    : name_((directory / file).string()) {
  if (const auto at = files.find(file); at != files.end()) parse(at->second);
}

void SideFile::parse(std::string text) {
  text_ = std::move(text);
  content_ = parse_json(text_, name_);
  if (!content_.is_null() && !content_.is_object()) Field{content_, name_}.wrong("an object");
}

std::optional<Field> SideFile::find(const char* key) const {
  if (content_.is_null()) return std::nullopt;
  const auto at = content_.find(key);
  if (at == content_.end() || at->is_null()) return std::nullopt;
  return Field{*at, name_ + "." + key};
}

std::vector<std::string> SideFile::keys_in_order(const char* key) const {
  std::vector<std::string> keys;
  if (content_.is_null()) return keys;
  const nlohmann::ordered_json all = parse_ordered_json(text_, name_);
  for (const auto& [name, value] : (key ? all.at(key) : all).items()) keys.push_back(name);
  return keys;
}

std::vector<int64_t> SideFile::ids(const char* key) const {
  std::vector<int64_t> ids;
  const auto field = find(key);
  if (!field) return ids;
  const auto take = [&](const json& value) {
    const int64_t id = Field{value, field->name}.integer();
    if (id >= 0) ids.push_back(id);
  };
  if (field->value.is_array())
    for (const json& value : field->value) take(value);
  else
    take(field->value);
  return ids;
}

std::string SideFile::chat_template() const {
  const auto field = find("chat_template");
  if (!field) return "";
  if (!field->value.is_array()) return field->text();
  std::string first;
  for (const json& item : field->value) {
    const Field named{item, field->name + "[]"};
    const std::string text = named.required("template").text();
    if (named.required("name").text() == "default") return text;
    if (first.empty()) first = text;
  }
  return first;
}

AddedToken token_in(const Field& field, bool special) {
  if (!field.value.is_object()) return {.content = field.text(), .special = true};
  AddedToken token{.content = field.required("content").text()};
  token.special = field.flag("special", special);
  token.single_word = field.flag("single_word", false);
  token.lstrip = field.flag("lstrip", false);
  token.rstrip = field.flag("rstrip", false);
  token.normalized = field.flag("normalized", !token.special);
  return token;
}

}  // namespace kerf
