// Which keys: what llama.cpp's own converter writes for the same model (src/llama-arch.cpp, src/llama-vocab.cpp).
#include "pipeline/repository/export_gguf.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>

#include "core/checked.h"
#include "core/error.h"
#include "model/arch/family.h"
#include "model/text/tokenizer_tables.h"
#include "model/text/tokenizer_words.h"
#include "targets/gguf_mixture.h"

namespace kerf {
namespace {

// src/llama-vocab.cpp: "maintain a list of tokens that cause end-of-generation".
constexpr std::string_view kEndTexts[] = {"<|eot_id|>",
                                          "<|im_end|>",
                                          "<|end|>",
                                          "<|return|>",
                                          "<|call|>",
                                          "<|flush|>",
                                          "<|calls|>",
                                          "<end_of_turn>",
                                          "<|endoftext|>",
                                          "</s>",
                                          "<|eom_id|>",
                                          "<EOT>",
                                          "_<EOT>",
                                          "[EOT]",
                                          "[EOS]",
                                          "<|end_of_text|>",
                                          "<end_of_utterance>",
                                          "<eos>"};

// Two of the texts end nothing beside others of another model; whoever needs them to says so by a key.
bool ends_by_its_text(const TokenizerSpec& t, int32_t id) {
  const std::string& text = t.tokens[static_cast<size_t>(id)];
  return text != "<|end|>" && text != "</s>" && std::ranges::find(kEndTexts, text) != std::end(kEndTexts);
}

class Keys {
 public:
  void add(std::string key, MetaValue value) { metadata.emplace_back(std::move(key), std::move(value)); }
  void id(const char* key, std::optional<int32_t> id) {
    if (id) add(key, static_cast<uint32_t>(*id));
  }

  Metadata metadata;
};

template <class T>
MetaValue to_meta(const T& value) {
  return value;
}
MetaValue to_meta(const std::vector<bool>& flags) { return MetaArray{flags}; }

void add_tokenizer(Keys& keys, const Architecture& a, const TokenizerSpec& t) {
  TokenizerTables tables = tokenizer_tables(t, a.vocab());
  const bool spm = tables.model == "llama";
  keys.add("tokenizer.ggml.model", std::move(tables.model));
  keys.add("tokenizer.ggml.pre", std::move(tables.pre));
  keys.add("tokenizer.ggml.tokens", MetaArray{std::move(tables.tokens)});
  if (spm) keys.add("tokenizer.ggml.scores", MetaArray{std::move(tables.scores)});
  keys.add("tokenizer.ggml.token_type", MetaArray{std::move(tables.types)});
  if (!spm) keys.add("tokenizer.ggml.merges", MetaArray{std::move(tables.merges)});
  keys.id("tokenizer.ggml.bos_token_id", t.bos);
  keys.id("tokenizer.ggml.eos_token_id", t.eos);
  const EndTokens ends = end_tokens(t);
  keys.id("tokenizer.ggml.eot_token_id", ends.eot);
  keys.id("tokenizer.ggml.eom_token_id", ends.eom);
  keys.id("tokenizer.ggml.unknown_token_id", t.unk);
  keys.id("tokenizer.ggml.padding_token_id", t.pad);
  keys.add("tokenizer.ggml.add_bos_token", t.add_bos);
  keys.add("tokenizer.ggml.add_eos_token", t.add_eos);
  if (spm) keys.add("tokenizer.ggml.add_space_prefix", t.add_space_prefix);
  if (!t.chat_template.empty()) keys.add("tokenizer.chat_template", t.chat_template);
}

}  // namespace

Metadata gguf_metadata(const Architecture& a, const TokenizerSource& tokenizer, const std::string& name,
                       const std::string& scheme) {
  Keys keys;
  keys.add("general.architecture", a.gguf_name);
  keys.add("general.type", std::string("model"));
  keys.add("general.name", name);
  keys.add("general.file_type", gguf_file_type(scheme));
  keys.add("general.quantization_version", uint32_t{2});
  for (const auto& [key, value] : gguf_keys(a))
    std::visit([&, &key = key](const auto& v) { keys.add(key, to_meta(v)); }, value);
  add_tokenizer(keys, a, tokenizer());
  return std::move(keys.metadata);
}

EndTokens end_tokens(const TokenizerSpec& t) {
  EndTokens ends;
  for (const int32_t id : t.ends) {
    if (id == t.eos || ends_by_its_text(t, id)) continue;
    if (!ends.eot)
      ends.eot = id;
    else if (!ends.eom)
      ends.eom = id;
    else
      ends.left.push_back(id);
  }
  return ends;
}

std::vector<int32_t> ends_by_key(const TokenizerSpec& t) {
  std::vector<int32_t> ends = t.ends;
  if (t.eos && std::ranges::find(ends, *t.eos) == ends.end()) ends.insert(ends.begin(), *t.eos);
  return ends;
}

std::vector<int32_t> ends_in_llama_cpp(const TokenizerSpec& t) {
  std::vector<int32_t> ends = ends_by_key(t);
  for (int32_t id = 0; id < static_cast<int32_t>(t.tokens.size()); ++id)
    if (ends_by_its_text(t, id) && std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
  return ends;
}

std::string modelfile(const TokenizerSpec& t, const std::string& file) {
  std::string text =
      fmt::format("# ollama create {} -f Modelfile\nFROM ./{}\n", std::filesystem::path(file).stem().string(), file);
  std::set<std::string> named;
  const auto stop = [&](const std::string& at) {
    if (!named.insert(at).second) return;
    const bool plain = at.find_first_of("\"\n") == std::string::npos;
    text += fmt::format("PARAMETER stop {1}{0}{1}\n", at, plain ? "\"" : "\"\"\"");
  };
  for (const int32_t id : t.ends) {
    const auto i = static_cast<size_t>(id);
    if (id == t.eos || t.types[i] == TokenType::unused) continue;
    const bool spelled = t.kind == TokenizerSpec::Kind::byte_level_bpe && t.types[i] == TokenType::normal;
    stop(spelled ? letters_to_bytes(t.tokens[i]) : t.tokens[i]);
  }
  std::ranges::for_each(t.stop_strings, stop);
  return text;
}

}  // namespace kerf
