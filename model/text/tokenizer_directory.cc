// The small files beside tokenizer.json: which tokens are special, and the chat template.
#include <algorithm>

#include "core/file.h"
#include "core/json.h"
#include "core/stand_in.h"
#include "model/text/tokenizer_side_file.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;

// Ids by which the other files name tokens.
class Ids {
 public:
  Ids(TokenizerSpec& spec, const SideFile& generation, const SideFile& model)
      : spec_(spec), generation_(generation), model_(model) {
    if (const auto rows = model.find("vocab_size"); rows && rows->value.is_number_integer()) rows_ = rows->integer();
  }

  /// Of generation_config.json before config.json, as far as they are tokens.
  std::vector<int32_t> all(const char* key) {
    std::vector<int32_t> found;
    for (const SideFile* file : {&generation_, &model_})
      for (const int64_t id : file->ids(key))
        if (token(id, file->name() + "." + key)) found.push_back(static_cast<int32_t>(id));
    return found;
  }

 private:
  // An id of a row that only fills the embedding up is a token without a name. No more of them than of others: that
  // bounds what a file can make us allocate.
  bool token(int64_t id, const std::string& where) {
    const auto tokens = static_cast<int64_t>(spec_.tokens.size());
    if (id >= tokens && (id >= rows_ || id > 2 * tokens + 1024)) {
      std::string remark = fmt::format("{}: {} is none of the {} tokens, and is left out", where, id, tokens);
      if (std::find(spec_.remarks.begin(), spec_.remarks.end(), remark) == spec_.remarks.end())
        spec_.remarks.push_back(std::move(remark));
      return false;
    }
    for (int64_t i = tokens; i <= id; ++i) {
      spec_.tokens.push_back(fmt::format("[PAD{}]", i));
      spec_.types.push_back(TokenType::unused);
    }
    if (!spec_.scores.empty()) spec_.scores.resize(spec_.tokens.size(), 0);
    return true;
  }

  TokenizerSpec& spec_;
  const SideFile &generation_, &model_;
  int64_t rows_ = 0;
};

[[noreturn]] void fail_without(const fs::path& directory) {
  for (const char* other : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
                            "tekken.json", "tiktoken.model"})
    if (fs::exists(directory / other))
      fail(ErrorKind::io,
           "{}: there is {} and no tokenizer.json, the only form of tokenizer that kerf reads; transformers writes it: "
           "`python3 -c \"from transformers import AutoTokenizer as T; T.from_pretrained('.').save_pretrained('.')\"` "
           "there",
           directory.string(), other);
  fail(ErrorKind::io,
       "{}: there is no tokenizer.json, and a text, a chat or a GGUF file needs the model's tokens; copy it from where "
       "the model comes from",
       directory.string());
}

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& directory) {
  TokenizerFiles files;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                           "generation_config.json", "config.json", "chat_template.jinja", "chat_template.json"})
    if (fs::exists(directory / name)) files.emplace(name, read_text(directory / name));
  if (!files.contains("tokenizer.json")) fail_without(directory);
  return files;
}

TokenizerSpec read_tokenizer_spec(const fs::path& directory) {
  return parse_tokenizer_files(read_tokenizer_files(directory), directory);
}

TokenizerSpec parse_tokenizer_files(const TokenizerFiles& files, const fs::path& directory) {
  const auto tokenizer = files.find("tokenizer.json");
  if (tokenizer == files.end()) fail_without(directory);
  TokenizerSpec spec = parse_tokenizer_json(tokenizer->second, (directory / "tokenizer.json").string());

  const SideFile config(files, directory, "tokenizer_config.json"), map(files, directory, "special_tokens_map.json"),
      added(files, directory, "added_tokens.json"), generation(files, directory, "generation_config.json"),
      model(files, directory, "config.json");
  add_tokens_beside(spec, config, map, added);

  Ids ids(spec, generation, model);
  const auto find = [&](const char* name, const char* id_name) -> std::optional<int32_t> {
    const auto is_it = [name](const auto& named) { return named.first == name; };
    const auto named = std::find_if(spec.named_tokens.begin(), spec.named_tokens.end(), is_it);
    if (named != spec.named_tokens.end()) {
      const auto at = std::find(spec.tokens.begin(), spec.tokens.end(), named->second);
      if (at != spec.tokens.end()) return static_cast<int32_t>(at - spec.tokens.begin());
    }
    const std::vector<int32_t> found = ids.all(id_name);
    return found.empty() ? std::nullopt : std::optional(found.front());
  };
  spec.bos = find("bos_token", "bos_token_id");
  spec.eos = find("eos_token", "eos_token_id");
  spec.pad = find("pad_token", "pad_token_id");
  if (const auto unk = find("unk_token", "unk_token_id")) spec.unk = unk;
  for (const int32_t id : ids.all("eos_token_id"))
    if (id != spec.eos && std::find(spec.ends.begin(), spec.ends.end(), id) == spec.ends.end()) spec.ends.push_back(id);
  if (const auto stops = generation.find("stop_strings")) {
    if (stops->value.is_array())
      for (const json& stop : stops->value) spec.stop_strings.push_back(Field{stop, stops->name + "[]"}.text());
    else
      spec.stop_strings.push_back(stops->text());
    std::erase(spec.stop_strings, "");
  }
  if (!spec.bos && !spec.prefix.empty()) spec.bos = spec.prefix.front();
  spec.add_bos = spec.bos && !spec.prefix.empty() && spec.prefix.front() == *spec.bos;
  spec.add_eos = spec.eos && !spec.suffix.empty() && spec.suffix.back() == *spec.eos;

  spec.chat_template = config.chat_template();
  if (const auto jinja = files.find("chat_template.jinja"); jinja != files.end()) {
    const std::string name = (directory / jinja->first).string();
    spec.chat_template = jinja->second;
    if (is_html_page(spec.chat_template)) refuse_stand_in(name, "no chat template", spec.chat_template);
    require_utf8(spec.chat_template, name);
  } else if (spec.chat_template.empty()) {
    spec.chat_template = SideFile(files, directory, "chat_template.json").chat_template();
  }
  return spec;
}

}  // namespace kerf
