// Which tokens are added, in which order and with which flags: transformers 5.23, tokenization_utils_base.py
// (_from_pretrained) and tokenization_utils_tokenizers.py (__init__). The library then numbers them.
#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>
#include <unordered_map>

#include "model/text/tokenizer_side_file.h"

namespace kerf {
namespace {

using json = nlohmann::json;

constexpr std::array<const char*, 7> kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

bool is_named_token(std::string_view key, const json& value) {
  return key.ends_with("_token") && (value.is_string() || (value.is_object() && value.contains("content")));
}

// What the files say, before any of it is a token of the spec.
struct Beside {
  std::vector<std::pair<std::string, AddedToken>> named;  // in the order in which they are added
  std::vector<AddedToken> extra;                          // special without a name
  std::map<int64_t, AddedToken> decoder;                  // by the id that a file gives
};

void name(Beside& b, const std::string& key, AddedToken token) {
  const auto at = std::find_if(b.named.begin(), b.named.end(), [&](const auto& n) { return n.first == key; });
  if (at == b.named.end())
    b.named.emplace_back(key, std::move(token));
  else
    at->second = std::move(token);
}

void read_names(Beside& b, const SideFile& file, bool special) {
  if (file.content().is_null()) return;
  for (const char* key : kNames)
    if (const auto field = file.find(key)) name(b, key, token_in(*field, special));
  for (const std::string& key : file.keys_in_order()) {  // of models with tokens of their own, such as image_token
    const json& value = file.content()[key];
    if (is_named_token(key, value) && std::find(kNames.begin(), kNames.end(), key) == kNames.end())
      name(b, key, token_in({value, file.name() + "." + key}, special));
  }
}

// The tokens of a list; of an object, which names them, nothing: they go to b.named.
std::vector<AddedToken> read_extra(Beside& b, const SideFile& file, const char* key, bool special) {
  std::vector<AddedToken> tokens;
  const auto field = file.find(key);
  if (!field) return tokens;
  if (field->value.is_object()) {
    for (const std::string& token : file.keys_in_order(key))
      name(b, token, token_in({field->value[token], field->name + "." + token}, special));
    return tokens;
  }
  if (!field->value.is_array()) field->wrong("a list or an object");
  for (const json& item : field->value) tokens.push_back(token_in({item, field->name + "[]"}, special));
  return tokens;
}

void read_decoder_of(const SideFile& config, Beside& b) {
  const Field all = *config.find("added_tokens_decoder");
  if (!all.value.is_object()) all.wrong("an object");
  for (const auto& [key, value] : all.value.items()) {
    int64_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      fail(ErrorKind::bad_input, "{}: \"{}\" is no token id", all.name, key);
    const Field token{value, all.name + "." + key};
    if (!value.is_object()) token.wrong("an object");
    b.decoder[id] = token_in(token, false);
  }
}

// Repositories from before transformers 4.34: the map goes before the config, and added_tokens.json has the ids.
void read_older_files(const TokenizerSpec& spec, const SideFile& map, const SideFile& added, Beside& b) {
  read_names(b, map, true);
  for (AddedToken& token : read_extra(b, map, "extra_special_tokens", true)) b.extra.push_back(std::move(token));
  std::set<std::string> special;
  for (const auto& [key, token] : b.named)
    if (std::find(kNames.begin(), kNames.end(), key) != kNames.end()) special.insert(token.content);
  for (const AddedToken& token : b.extra) special.insert(token.content);
  if (b.extra.empty()) b.extra = read_extra(b, map, "additional_special_tokens", true);
  if (!added.content().is_null()) {
    for (const auto& [content, value] : added.content().items()) {
      const int64_t id = Field{value, added.name() + "." + content}.integer();
      const bool is_special = special.contains(content);
      b.decoder[id] = {.content = content, .normalized = !is_special, .special = is_special};
    }
  }
  for (const AddedToken& token : spec.added) b.decoder[token.id] = token;
}

// Adds tokens as the library does: one that is there keeps its id and takes the flags, another comes behind the last.
class Adder {
 public:
  explicit Adder(TokenizerSpec& spec) : spec_(spec) {
    std::vector<bool> only_added(spec.tokens.size(), false);
    for (size_t i = 0; i < spec.added.size(); ++i) {
      const AddedToken& a = spec.added[i];
      added_.emplace(a.content, i);
      if (!a.in_model) only_added[static_cast<size_t>(a.id)] = true;
      next_ = std::max(next_, int64_t{a.id} + 1);
    }
    int64_t model = 0;
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      if (spec.types[i] == TokenType::unused || only_added[i]) continue;
      model_.emplace(spec.tokens[i], static_cast<int32_t>(i));
      ++model;
    }
    next_ = std::max(next_, model);
  }

  bool has(const std::string& content) const { return added_.contains(content); }

  void add(AddedToken token, std::optional<int64_t> claimed = {}, const std::string& file = {}) {
    if (token.content.empty()) return;
    const auto before = added_.find(token.content);
    const auto in_model = model_.find(token.content);
    token.in_model = in_model != model_.end();
    if (before != added_.end())
      token.id = spec_.added[before->second].id;
    else
      token.id = token.in_model ? in_model->second : static_cast<int32_t>(next_);
    next_ = std::max(next_, int64_t{token.id} + 1);
    if (claimed && *claimed != token.id)
      spec_.remarks.push_back(
          fmt::format("{} says that the token \"{}\" has the id {}; AutoTokenizer gives it {}, and "
                      "so does kerf",
                      file, token.content, *claimed, token.id));
    const auto id = static_cast<size_t>(token.id);
    while (spec_.tokens.size() <= id) {
      spec_.tokens.push_back(fmt::format("[PAD{}]", spec_.tokens.size()));
      spec_.types.push_back(TokenType::unused);
    }
    spec_.tokens[id] = token.content;
    if (before != added_.end()) {
      spec_.added[before->second] = std::move(token);
      return;
    }
    added_.emplace(token.content, spec_.added.size());
    spec_.added.push_back(std::move(token));
  }

 private:
  TokenizerSpec& spec_;
  std::unordered_map<std::string, size_t> added_;  // index in spec.added
  std::unordered_map<std::string, int32_t> model_;
  int64_t next_ = 0;
};

}  // namespace

void add_tokens_beside(TokenizerSpec& spec, const SideFile& config, const SideFile& map, const SideFile& added) {
  Beside b;
  read_names(b, config, false);
  b.extra = read_extra(b, config, "extra_special_tokens", false);
  if (b.extra.empty()) b.extra = read_extra(b, config, "additional_special_tokens", false);
  const bool has_decoder = config.find("added_tokens_decoder").has_value();
  if (has_decoder)
    read_decoder_of(config, b);
  else
    read_older_files(spec, map, added, b);

  std::set<std::string_view> named;
  for (const auto& [key, token] : b.named) named.insert(token.content);
  Adder adder(spec);
  for (const auto& [id, token] : b.decoder) {
    AddedToken t = token;
    t.special = t.special || named.contains(t.content);
    adder.add(std::move(t), id, has_decoder ? config.name() : added.name());
  }
  for (const auto& [key, token] : b.named) {
    if (adder.has(token.content)) continue;
    AddedToken t = token;
    t.special = true;
    adder.add(std::move(t));
  }
  for (const AddedToken& token : b.extra)
    if (!adder.has(token.content)) adder.add(token);
  set_token_types(spec);
  for (const auto& [key, token] : b.named) spec.named_tokens.emplace_back(key, token.content);
}

}  // namespace kerf
