// The model and the added tokens of a tokenizer.json, and the whole put together as a TokenizerSpec.
#include <algorithm>
#include <unordered_map>

#include "core/json.h"
#include "model/text/tokenizer_field.h"
#include "model/text/tokenizer_file.h"
#include "model/text/tokenizer_words.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

using json = nlohmann::json;
using Kind = TokenizerSpec::Kind;

struct Vocabulary {
  std::unordered_map<std::string_view, int32_t> ids;  // of the model's tokens
  size_t size = 0;                                    // largest id + 1
};

// Ids may leave holes, but no more than there are tokens and a thousand: that bounds what a file can make us allocate.
Vocabulary number(const TokenizerFile& file, size_t added, const std::string& name) {
  Vocabulary v;
  const size_t limit = 2 * (file.vocab.size() + added) + 1024;
  v.ids.reserve(file.vocab.size());
  for (const auto& [token, id] : file.vocab) {
    if (id < 0 || static_cast<uint64_t>(id) >= limit) {
      fail(ErrorKind::bad_input, "{}: the id {} of \"{}\" is out of range for {} tokens", name, id, token,
           file.vocab.size());
    }
    v.ids.insert_or_assign(token, static_cast<int32_t>(id));
    v.size = std::max(v.size, static_cast<size_t>(id) + 1);
  }
  return v;
}

// The library numbers added tokens itself: as in the vocabulary if they are there, otherwise from its size on, in the
// order of the list. Where a file says otherwise, that is remarked, once.
void read_added(const Field& list, Vocabulary& v, TokenizerSpec& spec) {
  if (!list.value.is_array()) list.wrong("a list");
  std::unordered_map<std::string, int32_t> numbered;
  auto next = static_cast<int64_t>(v.ids.size());
  size_t i = 0, others = 0;
  for (const json& item : list.value) {
    const Field field{item, fmt::format("{}[{}]", list.name, i++)};
    AddedToken token;
    token.content = field.required("content").text();
    if (token.content.empty()) continue;
    const auto in_model = v.ids.find(token.content);
    const auto before = numbered.find(token.content);
    token.in_model = in_model != v.ids.end();
    const int64_t id = token.in_model ? in_model->second : before != numbered.end() ? before->second : next++;
    const int64_t claimed = field.required("id").integer();
    if (claimed != id && others++ == 0)
      spec.remarks.push_back(
          fmt::format("{}: \"{}\" has the id {}; the tokenizers library gives it {}, and so does kerf", field.name,
                      token.content, claimed, id));
    token.id = static_cast<int32_t>(id);
    token.special = field.flag("special", false);
    token.single_word = field.flag("single_word", false);
    token.lstrip = field.flag("lstrip", false);
    token.rstrip = field.flag("rstrip", false);
    token.normalized = field.flag("normalized", !token.special);
    if (!token.in_model) numbered.insert_or_assign(token.content, token.id);
    v.size = std::max(v.size, static_cast<size_t>(id) + 1);
    const auto same = [&](const AddedToken& a) { return a.id == token.id; };
    if (before != numbered.end() || token.in_model) std::erase_if(spec.added, same);
    spec.added.push_back(std::move(token));
  }
  if (others > 1)
    spec.remarks.push_back(
        fmt::format("{}: {} tokens in all have other ids there than the library gives them", list.name, others));
}

void refuse_unless_empty(const Field& model, const char* key) {
  if (!model.has(key)) return;
  const Field f = model.required(key);
  if (f.value.is_number() && f.value.get<double>() == 0) return;
  if (f.value.is_string() && f.value.get_ref<const std::string&>().empty()) return;
  fail(ErrorKind::unsupported, "{}: {} is not supported; kerf knows null only", f.name, short_json(f.value));
}

// A merge's rank says when the token it makes is made; llama.cpp merges the token of highest score first. Characters
// and special tokens are never made, and what no merge makes should be made last.
void score(TokenizerSpec& spec, const Vocabulary& v) {
  spec.scores.assign(spec.tokens.size(), 0);
  std::vector<bool> made(spec.tokens.size(), false);
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    joined = spec.merges[rank];
    std::erase(joined, ' ');
    const auto at = v.ids.find(joined);
    if (at == v.ids.end() || made[static_cast<size_t>(at->second)]) continue;
    made[static_cast<size_t>(at->second)] = true;
    spec.scores[static_cast<size_t>(at->second)] = -static_cast<float>(rank);
  }
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const bool one_character =
        spec.tokens[i].empty() || decode_utf8(spec.tokens[i].data()).bytes == spec.tokens[i].size();
    if (!made[i] && !one_character && spec.types[i] == TokenType::normal) {
      spec.scores[i] = -static_cast<float>(spec.merges.size());
    }
  }
}

void lay_out(const Vocabulary& v, TokenizerSpec& spec) {
  spec.tokens.assign(v.size, "");
  spec.types.assign(v.size, TokenType::unused);
  const auto put = [&](int32_t id, std::string_view token) {
    auto& place = spec.tokens[static_cast<size_t>(id)];
    if (spec.types[static_cast<size_t>(id)] != TokenType::unused && place != token) {
      fail(ErrorKind::bad_input, "tokenizer: \"{}\" and \"{}\" have the same id {}", place, token, id);
    }
    place = token;
    spec.types[static_cast<size_t>(id)] = TokenType::normal;
  };
  for (const auto& [token, id] : v.ids) put(id, token);
  for (const AddedToken& a : spec.added) put(a.id, a.content);
  for (size_t i = 0; i < v.size; ++i) {
    if (spec.types[i] == TokenType::unused) spec.tokens[i] = fmt::format("[PAD{}]", i);
  }
}

}  // namespace

void set_token_types(TokenizerSpec& spec) {
  if (spec.kind == Kind::spm_bpe && spec.byte_fallback) {
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      const std::string& t = spec.tokens[i];
      if (t.size() == 6 && t.starts_with("<0x") && t[5] == '>') spec.types[i] = TokenType::byte;
    }
  }
  for (const AddedToken& a : spec.added) {
    spec.types[static_cast<size_t>(a.id)] = a.special ? TokenType::control : TokenType::user_defined;
  }
  if (spec.kind == Kind::spm_bpe && spec.model_unk)
    spec.types[static_cast<size_t>(*spec.model_unk)] = TokenType::unknown;
  if (!spec.scores.empty()) spec.scores.resize(spec.tokens.size(), 0);
}

TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& name) {
  TokenizerFile parts = parse_tokenizer_file(text, name);
  const json& document = parts.rest;
  const Field file{document, name};
  const Field model = file.required("model");
  if (file.has("version") && file.required("version").text() != "1.0") {
    fail(ErrorKind::unsupported, "{}: version \"{}\" is not supported; kerf knows 1.0", name,
         file.required("version").text());
  }
  if (model.has("type") && model.type() != "BPE") model.unknown("BPE as a model");
  refuse_unless_empty(model, "dropout");
  refuse_unless_empty(model, "continuing_subword_prefix");
  refuse_unless_empty(model, "end_of_word_suffix");

  TokenizerSpec spec;
  spec.from_json = true;
  const json none;
  const json no_tokens = json::array();
  const auto optional = [&](const char* key) { return Field{file.has(key) ? document[key] : none, name + "." + key}; };
  const Field added{file.has("added_tokens") ? document["added_tokens"] : no_tokens, name + ".added_tokens"};
  const Field vocab = model.required("vocab"), merges = model.required("merges");
  if (!vocab.value.is_object()) vocab.wrong("an object");
  if (!merges.value.is_array()) merges.wrong("a list");
  Vocabulary v = number(parts, added.value.size(), vocab.name);
  read_added(added, v, spec);
  spec.merges = std::move(parts.merges);
  spec.byte_fallback = model.flag("byte_fallback", false);
  spec.fuse_unk = model.flag("fuse_unk", false);
  spec.ignore_merges = model.flag("ignore_merges", false);
  lay_out(v, spec);
  if (model.has("unk_token")) {
    const auto at = v.ids.find(model.required("unk_token").text());
    if (at == v.ids.end())
      spec.missing_unk = model.required("unk_token").text();
    else
      spec.unk = spec.model_unk = at->second;
  }
  read_normalizer(optional("normalizer"), spec);
  read_pre_tokenizer(optional("pre_tokenizer"), spec);
  read_post_processor(optional("post_processor"), spec);
  read_decoder(optional("decoder"), spec);

  const auto is_bytes = [](const PreTokenizerStep& s) { return s.kind == PreTokenizerStep::Kind::byte_level; };
  const bool bytes = std::any_of(spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(), is_bytes);
  spec.kind = bytes ? Kind::byte_level_bpe : Kind::spm_bpe;
  if (bytes) spec.pre = pre_tokenizer_name(spec.pre_tokenizer);
  if (bytes && spec.byte_fallback) {
    for (const uint32_t letter : byte_letters()) {
      std::string token;
      append_utf8(token, letter);
      if (v.ids.contains(token)) continue;
      fail(ErrorKind::unsupported, "{}: byte_fallback together with ByteLevel and a missing byte (\"{}\")", name,
           token);
    }
  }
  set_token_types(spec);
  if (!bytes) score(spec, v);
  return spec;
}

}  // namespace kerf
