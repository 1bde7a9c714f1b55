// Values are replaced where they stand in the text: numbers that a JSON document cannot hold (model_max_length is often
// 10^30), the order of keys and the layout stay as they are, and a vocabulary of 262,144 tokens never becomes an
// ordered JSON object, whose keys are found one by one.
#include "prune/tokenizer_rewrite.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/json.h"
#include "model/text/tokenizer_file.h"
#include "prune/token_ids.h"
#include "prune/vocabulary.h"

namespace kerf {
namespace {

using json = nlohmann::ordered_json;

std::string quoted(std::string_view text) { return shown_json(json(text), -1); }

/// The vocabulary of the model, the merges and the added tokens that are left.
class Rest {
 public:
  Rest(const std::string& tokenizer_json, const std::string& name, const TokenizerSpec& spec,
       std::span<const int32_t> kept)
      : kept_(kept), file_(parse_tokenizer_file(tokenizer_json, name)) {
    // Of equal tokens the last counts.
    std::unordered_map<std::string_view, size_t> last;
    for (size_t i = 0; i < file_.vocab.size(); ++i) last.insert_or_assign(file_.vocab[i].first, i);
    for (size_t i = 0; i < file_.vocab.size(); ++i) {
      const auto& [token, id] = file_.vocab[i];
      if (last[token] != i || !new_id(kept_, id)) continue;
      vocab_.emplace_back(token, *new_id(kept_, id));
      model_.insert(token);
    }
    std::string joined;
    for (const std::string& merge : file_.merges) {
      const std::string_view line = merge;
      const size_t space = line.find(' ');
      joined.assign(line.substr(0, space)).append(line.substr(space + 1));
      if (has(line.substr(0, space)) && has(line.substr(space + 1)) && has(joined)) merges_.push_back(line);
    }
    for (const AddedToken& a : spec.added)
      if (const auto id = new_id(kept_, a.id)) added_.emplace(a.content, *id);
  }

  /// The new id of an added token; nullptr when it is gone.
  const int32_t* added(const std::string& content) const {
    const auto at = added_.find(content);
    return at == added_.end() ? nullptr : &at->second;
  }

  /// One entry a line, each behind `indent`, as model.vocab or, without an indent, in one line as vocab.json.
  std::string vocab_text(std::string_view indent) const {
    std::string text = "{";
    for (const auto& [token, id] : vocab_) {
      if (text.size() > 1) text += ',';
      text.append(indent).append(quoted(token)).append(indent.empty() ? ":" : ": ").append(std::to_string(id));
    }
    return text;
  }
  std::string merges_text(std::string_view indent) const {
    std::string text = "[";
    for (const std::string_view merge : merges_) {
      if (text.size() > 1) text += ',';
      text += indent;
      if (!file_.merge_pairs) {
        text += quoted(merge);
        continue;
      }
      const size_t space = merge.find(' ');
      text.append("[").append(indent).append("  ").append(quoted(merge.substr(0, space)));
      text.append(",").append(indent).append("  ").append(quoted(merge.substr(space + 1)));
      text.append(indent).append("]");
    }
    return text;
  }
  std::string merges_txt(const std::string& original) const {
    std::string text = original.starts_with("#version") ? original.substr(0, original.find('\n')) + "\n" : "";
    for (const std::string_view merge : merges_) text.append(merge).append("\n");
    return text;
  }
  std::span<const int32_t> kept() const { return kept_; }

 private:
  bool has(std::string_view token) const { return model_.contains(token); }

  std::span<const int32_t> kept_;
  TokenizerFile file_;  // the views below look into it
  std::vector<std::pair<std::string_view, int32_t>> vocab_;
  std::unordered_set<std::string_view> model_;
  std::vector<std::string_view> merges_;
  std::unordered_map<std::string, int32_t> added_;
};

std::string_view text_at(std::string_view text, JsonSpan at) { return text.substr(at.begin, at.end - at.begin); }

/// Replaces a value of a text by another one, in the layout that its place asks for; nothing when it is not there or
/// null.
template <class F>
void replace_value(std::string& text, std::initializer_list<std::string_view> path, F&& replacement) {
  const auto at = find_json_value(text, path);
  if (!at || text_at(text, *at) == "null") return;
  const std::string by = replacement(text_at(text, *at));
  text.replace(at->begin, at->end - at->begin, by);
}

/// The value as it stands under `depth` keys of an indented file. (A line of JSON never ends inside of a string.)
std::string indented(const json& v, size_t depth) {
  const std::string text = shown_json(v);
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '\n') out.append(2 * depth, ' ');
  }
  return out;
}

/// f(id) for each id in a post-processor (TemplateProcessing, RobertaProcessing, BertProcessing) or a padding.
template <class F>
void for_template_ids(json& v, F&& f) {
  if (!v.is_structured()) return;
  if (v.is_array()) {
    for (json& each : v) for_template_ids(each, f);
    return;
  }
  for (auto at = v.begin(); at != v.end(); ++at) {
    json& value = at.value();
    if (at.key() == "ids" && value.is_array()) {
      for (json& id : value)
        if (id.is_number_integer()) f(id);
    } else if ((at.key() == "cls" || at.key() == "sep") && value.is_array() && value.size() == 2) {
      if (value[1].is_number_integer()) f(value[1]);
    } else if (at.key() == "pad_id" && value.is_number_integer()) {
      f(value);
    } else {
      for_template_ids(value, f);
    }
  }
}

std::string renumbered_template(std::string_view text, const std::string& name, std::span<const int32_t> kept) {
  json v = parse_ordered_json(text, name);
  bool changed = false;
  for_template_ids(v, [&](json& id) {
    const auto to = new_id(kept, id.get<int64_t>());
    if (!to || id == *to) return;
    id = *to;
    changed = true;
  });
  return changed ? indented(v, 1) : std::string(text);
}

constexpr const char* kTemplateKeys[] = {"post_processor", "padding"};

std::string tokenizer_json(std::string text, const std::string& name, const Rest& rest) {
  replace_value(text, {"model", "merges"}, [&](std::string_view) { return rest.merges_text("\n      ") + "\n    ]"; });
  replace_value(text, {"model", "vocab"}, [&](std::string_view) { return rest.vocab_text("\n      ") + "\n    }"; });
  for (const char* key : kTemplateKeys)
    replace_value(text, {key}, [&](std::string_view v) { return renumbered_template(v, name, rest.kept()); });
  replace_value(text, {"added_tokens"}, [&](std::string_view v) {
    json tokens = json::array();
    for (json& token : parse_ordered_json(v, name)) {
      const int32_t* id = rest.added(token["content"].get<std::string>());
      if (id == nullptr) continue;
      token["id"] = *id;
      tokens.push_back(std::move(token));
    }
    return indented(tokens, 1);
  });
  return text;
}

std::string tokenizer_config(std::string text, const std::string& name, const Rest& rest) {
  replace_value(text, {"added_tokens_decoder"}, [&](std::string_view v) {
    json decoder = json::object();
    const json original = parse_ordered_json(v, name);
    for (const auto& [key, token] : original.items())
      if (const int32_t* id = rest.added(token["content"].get<std::string>())) decoder[std::to_string(*id)] = token;
    return indented(decoder, 1);
  });
  return text;
}

std::string added_tokens(const std::string& text, const std::string& name, const Rest& rest) {
  json tokens = json::object();
  const json original = parse_ordered_json(text, name);
  for (const auto& [content, claimed] : original.items())
    if (const int32_t* id = rest.added(content)) tokens[content] = *id;
  return shown_json(tokens) + "\n";
}

}  // namespace

std::vector<int64_t> template_ids(std::string_view text, const std::string& name) {
  std::vector<int64_t> ids;
  for (const char* key : kTemplateKeys) {
    const auto at = find_json_value(text, {key});
    if (!at) continue;
    json v = parse_ordered_json(text_at(text, *at), name);
    for_template_ids(v, [&](const json& id) { ids.push_back(id.get<int64_t>()); });
  }
  return ids;
}

TokenizerFiles rewritten_files(const TokenizerFiles& files, const std::string& name, const TokenizerSpec& spec,
                               std::span<const int32_t> kept, int64_t rows) {
  const Rest rest(files.at("tokenizer.json"), name, spec, kept);
  TokenizerFiles out;
  for (const auto& [file, text] : files) {
    const std::string path = name + "/" + file;
    std::string& to = out[file];
    if (file == "tokenizer.json")
      to = tokenizer_json(text, path, rest);
    else if (file == "tokenizer_config.json")
      to = tokenizer_config(text, path, rest);
    else if (file == "added_tokens.json")
      to = added_tokens(text, path, rest);
    else if (file == "vocab.json")
      to = rest.vocab_text("") + "}\n";
    else if (file == "merges.txt")
      to = rest.merges_txt(text);
    else if (file == "config.json" || file == "generation_config.json")
      to = json_text(renumbered_ids(parse_ordered_json(text, path), kept, rows)) + "\n";
    else
      to = text;
  }
  return out;
}

}  // namespace kerf
