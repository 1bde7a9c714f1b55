// tokenizer.json and the small files beside it, read field by field into a TokenizerSpec. What would change ids and is
// not known here is refused by name.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "model/tokenizer.h"
#include "model/tokenizer_bpe.h"
#include "model/unicode.h"

namespace kerf {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;
using Kind = TokenizerSpec::Kind;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581
constexpr int kDeepestSequence = 8;                      // a Sequence inside a Sequence ...; real files nest once

/// A JSON value and the words to call it in an error.
struct Field {
  const json& value;
  std::string name;

  [[noreturn]] void wrong(std::string_view wanted) const {
    fail(ErrorKind::bad_input, "{}: expected {}, found {}", name, wanted, value.type_name());
  }
  Field required(const char* key) const {
    if (!value.is_object()) wrong("an object");
    const auto at = value.find(key);
    if (at == value.end()) fail(ErrorKind::bad_input, "{}: the key \"{}\" is missing", name, key);
    return {*at, name + "." + key};
  }
  bool has(const char* key) const {
    if (!value.is_object()) wrong("an object");
    const auto at = value.find(key);
    return at != value.end() && !at->is_null();
  }
  const std::string& text() const {
    if (!value.is_string()) wrong("a string");
    return value.get_ref<const std::string&>();
  }
  int64_t integer() const {
    if (!value.is_number_integer()) wrong("an integer");
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      fail(ErrorKind::bad_input, "{}: {} is out of range", name, value.get<uint64_t>());
    }
    return value.get<int64_t>();
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const Field f = required(key);
    if (!f.value.is_boolean()) f.wrong("true or false");
    return f.value.get<bool>();
  }
  std::string type() const { return required("type").text(); }
  [[noreturn]] void unknown(std::string_view known) const {
    fail(ErrorKind::unsupported, "{}: type \"{}\" is not supported; kerf knows {}", name, type(), known);
  }
};

/// Calls body for the step, or for each step of a Sequence (whose list has one of several names).
template <class Body>
void each_step(const Field& step, const char* list, Body&& body, int depth = 0) {
  if (step.value.is_null()) return;
  if (step.type() != "Sequence") return body(step);
  if (depth == kDeepestSequence) fail(ErrorKind::unsupported, "{}: sequences nested too deeply", step.name);
  const Field steps = step.required(list);
  if (!steps.value.is_array()) steps.wrong("a list");
  size_t i = 0;
  for (const json& s : steps.value) each_step(Field{s, fmt::format("{}[{}]", steps.name, i++)}, list, body, depth + 1);
}

std::string literal_pattern(const Field& step) {
  const Field pattern = step.required("pattern");
  if (pattern.has("Regex")) {
    fail(ErrorKind::unsupported, "{}: a Regex to replace is not supported; kerf knows String", pattern.name);
  }
  return pattern.required("String").text();
}

void read_normalizer(const Field& field, TokenizerSpec& spec) {
  using N = NormalizerStep;
  each_step(field, "normalizers", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "NFC") {
      spec.normalizer.push_back({.kind = N::Kind::nfc});
    } else if (type == "Prepend") {
      spec.normalizer.push_back({.kind = N::Kind::prepend, .content = step.required("prepend").text()});
      if (spec.normalizer.back().content == kMetaspace) spec.add_space_prefix = true;
    } else if (type == "Replace") {
      spec.normalizer.push_back(
          {.kind = N::Kind::replace, .pattern = literal_pattern(step), .content = step.required("content").text()});
    } else {
      step.unknown("NFC, Prepend, Replace and Sequence as normalizers");
    }
  });
}

void read_split(const Field& step, TokenizerSpec& spec) {
  const Field pattern = step.required("pattern");
  const std::string behavior = step.required("behavior").text();
  const bool invert = step.flag("invert", false);
  // Removing what lies between matches is the same as keeping it apart only where the pattern matches everything.
  const std::string regex = pattern.has("Regex") ? pattern.required("Regex").text() : "";
  const bool covers = regex == kGpt2Pattern || regex == kLlama3Pattern || regex == kQwen2Pattern;
  if (regex.empty() || !((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert && covers))) {
    fail(ErrorKind::unsupported,
         "{}: Split with behavior {}, invert {} and {} is not supported; kerf knows Isolated with a Regex", step.name,
         behavior, invert, regex.empty() ? "a String" : "this Regex");
  }
  spec.pre_tokenizer.push_back({.kind = PreTokenizerStep::Kind::pattern, .regex = regex});
}

void read_metaspace(const Field& step, TokenizerSpec& spec) {
  using P = PreTokenizerStep;
  if (step.required("replacement").text() != kMetaspace) {
    fail(ErrorKind::unsupported, "{}: replacement \"{}\" is not supported; kerf knows U+2581", step.name,
         step.required("replacement").text());
  }
  const std::string scheme = step.has("prepend_scheme")            ? step.required("prepend_scheme").text()
                             : step.flag("add_prefix_space", true) ? "always"
                                                                   : "never";
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail(ErrorKind::bad_input, "{}: prepend_scheme \"{}\"; allowed are always, first, never", step.name, scheme);
  }
  const P::Prefix prefix = scheme == "always"  ? P::Prefix::always
                           : scheme == "first" ? P::Prefix::first
                                               : P::Prefix::never;
  spec.pre_tokenizer.push_back({.kind = P::Kind::metaspace, .prefix = prefix, .split = step.flag("split", true)});
  if (prefix != P::Prefix::never) spec.add_space_prefix = true;
}

void read_pre_tokenizer(const Field& field, TokenizerSpec& spec) {
  using P = PreTokenizerStep;
  each_step(field, "pretokenizers", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "ByteLevel") {
      spec.pre_tokenizer.push_back({.kind = P::Kind::byte_level,
                                    .add_prefix_space = step.flag("add_prefix_space", true),
                                    .use_regex = step.flag("use_regex", true)});
    } else if (type == "Digits") {
      spec.pre_tokenizer.push_back(
          {.kind = P::Kind::digits, .individual_digits = step.flag("individual_digits", false)});
    } else if (type == "Split") {
      read_split(step, spec);
    } else if (type == "Metaspace") {
      read_metaspace(step, spec);
    } else {
      step.unknown("ByteLevel, Digits, Split, Metaspace and Sequence as pre-tokenizers");
    }
  });
}

void read_decoder(const Field& field, TokenizerSpec& spec) {
  using D = DecoderStep;
  each_step(field, "decoders", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "ByteLevel") {
      spec.decoder.push_back({.kind = D::Kind::byte_level});
    } else if (type == "Replace") {
      spec.decoder.push_back(
          {.kind = D::Kind::replace, .pattern = literal_pattern(step), .content = step.required("content").text()});
    } else if (type == "ByteFallback") {
      spec.decoder.push_back({.kind = D::Kind::byte_fallback});
    } else if (type == "Fuse") {
      spec.decoder.push_back({.kind = D::Kind::fuse});
    } else if (type == "Strip") {
      D strip = {.kind = D::Kind::strip,
                 .content = step.required("content").text(),
                 .start = step.required("start").integer(),
                 .stop = step.required("stop").integer()};
      if (strip.content.empty() || strip.start < 0 || strip.stop < 0) {
        fail(ErrorKind::bad_input, "{}: Strip needs a character and counts that are not negative", step.name);
      }
      spec.decoder.push_back(std::move(strip));
    } else if (type == "Metaspace") {
      const bool never = step.has("prepend_scheme") ? step.required("prepend_scheme").text() == "never"
                                                    : !step.flag("add_prefix_space", true);
      spec.decoder.push_back({.kind = D::Kind::metaspace, .prefix = !never});
    } else {
      step.unknown("ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence as decoders");
    }
  });
}

int32_t token_id(const Field& field, size_t tokens) {
  const int64_t id = field.integer();
  if (id < 0 || static_cast<uint64_t>(id) >= tokens) {
    fail(ErrorKind::bad_input, "{}: token {} is outside the vocabulary of {}", field.name, id, tokens);
  }
  return static_cast<int32_t>(id);
}

void read_template(const Field& step, TokenizerSpec& spec) {
  const Field single = step.required("single");
  if (!single.value.is_array()) single.wrong("a list");
  bool after = false;
  size_t i = 0;
  for (const json& item : single.value) {
    const Field piece{item, fmt::format("{}[{}]", single.name, i++)};
    if (piece.has("Sequence")) {
      if (after || piece.required("Sequence").required("id").text() != "A") {
        fail(ErrorKind::unsupported, "{}: kerf knows templates with the one sequence \"A\"", piece.name);
      }
      after = true;
      continue;
    }
    const std::string name = piece.required("SpecialToken").required("id").text();
    const Field ids = step.required("special_tokens").required(name.c_str()).required("ids");
    if (!ids.value.is_array()) ids.wrong("a list");
    for (const json& id : ids.value) {
      (after ? spec.suffix : spec.prefix).push_back(token_id({id, ids.name}, spec.tokens.size()));
    }
  }
  if (!after) fail(ErrorKind::unsupported, "{}: the template leaves the text out", single.name);
}

void read_post_processor(const Field& field, TokenizerSpec& spec) {
  each_step(field, "processors", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "TemplateProcessing") {
      read_template(step, spec);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      const auto second = [&](const char* key) {
        const Field pair = step.required(key);
        if (!pair.value.is_array() || pair.value.size() != 2) pair.wrong("a list of a token and its id");
        return token_id({pair.value[1], pair.name}, spec.tokens.size());
      };
      spec.prefix.push_back(second("cls"));
      spec.suffix.push_back(second("sep"));
    } else if (type != "ByteLevel") {  // which only moves offsets
      step.unknown("TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel and Sequence as post-processors");
    }
  });
}

struct Vocabulary {
  std::unordered_map<std::string, int32_t> ids;
  size_t size = 0;  // largest id + 1
};

// Ids may leave holes, but no more than there are tokens and a thousand: that bounds what a file can make us allocate.
Vocabulary read_vocabulary(const Field& field, size_t added) {
  if (!field.value.is_object()) field.wrong("an object");
  Vocabulary v;
  const size_t limit = 2 * (field.value.size() + added) + 1024;
  v.ids.reserve(field.value.size());
  for (const auto& [token, id] : field.value.items()) {
    if (!id.is_number_integer()) {
      fail(ErrorKind::bad_input, "{}: the id of \"{}\" is {}, expected an integer", field.name, token, id.type_name());
    }
    const int64_t n = Field{id, field.name}.integer();
    if (n < 0 || static_cast<uint64_t>(n) >= limit) {
      fail(ErrorKind::bad_input, "{}: the id {} of \"{}\" is out of range for {} tokens", field.name, n, token,
           field.value.size());
    }
    v.ids.emplace(token, static_cast<int32_t>(n));
    v.size = std::max(v.size, static_cast<size_t>(n) + 1);
  }
  return v;
}

// The library numbers added tokens itself: as in the vocabulary if they are there, otherwise from its size on, in the
// order of the list. A file that says otherwise would give other ids there than it claims, so it is refused.
void read_added(const Field& list, Vocabulary& v, TokenizerSpec& spec) {
  if (!list.value.is_array()) list.wrong("a list");
  std::unordered_map<std::string, int32_t> numbered;
  auto next = static_cast<int64_t>(v.ids.size());
  size_t i = 0;
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
    if (claimed != id) {
      fail(ErrorKind::bad_input, "{}: \"{}\" has the id {}, but its place in the vocabulary is {}", field.name,
           token.content, claimed, id);
    }
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
}

void read_merges(const Field& list, TokenizerSpec& spec) {
  if (!list.value.is_array()) list.wrong("a list");
  spec.merges.reserve(list.value.size());
  for (const json& merge : list.value) {
    const size_t i = spec.merges.size();
    if (merge.is_string()) {
      if (merge.get_ref<const std::string&>().starts_with("#version")) continue;
      spec.merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      const auto &left = merge[0].get_ref<const std::string&>(), &right = merge[1].get_ref<const std::string&>();
      if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos) {
        fail(ErrorKind::unsupported, "{}[{}]: merges of tokens that contain a space are not supported", list.name, i);
      }
      spec.merges.push_back(left + " " + right);
    } else {
      fail(ErrorKind::bad_input, "{}[{}]: expected two tokens, as \"a b\" or [\"a\", \"b\"]", list.name, i);
    }
  }
}

void refuse_unless_empty(const Field& model, const char* key) {
  if (!model.has(key)) return;
  const Field f = model.required(key);
  if (f.value.is_number() && f.value.get<double>() == 0) return;
  if (f.value.is_string() && f.value.get_ref<const std::string&>().empty()) return;
  fail(ErrorKind::unsupported, "{}: {} is not supported; kerf knows null only", f.name, f.value.dump());
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
  const auto put = [&](int32_t id, const std::string& token) {
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

void set_types(TokenizerSpec& spec) {
  if (spec.kind == Kind::spm_bpe && spec.byte_fallback) {
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      const std::string& t = spec.tokens[i];
      if (t.size() == 6 && t.starts_with("<0x") && t[5] == '>') spec.types[i] = TokenType::byte;
    }
  }
  for (const AddedToken& a : spec.added) {
    spec.types[static_cast<size_t>(a.id)] = a.special ? TokenType::control : TokenType::user_defined;
  }
  if (spec.kind == Kind::spm_bpe && spec.unk) spec.types[static_cast<size_t>(*spec.unk)] = TokenType::unknown;
}

json parse(std::string_view text, const std::string& name) {
  try {
    return json::parse(text);
  } catch (const json::exception& e) {
    fail(ErrorKind::bad_input, "{}: not valid JSON: {}", name, e.what());
  }
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& name) {
  const json document = parse(text, name);
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
  Vocabulary v = read_vocabulary(model.required("vocab"), added.value.size());
  read_added(added, v, spec);
  read_merges(model.required("merges"), spec);
  spec.byte_fallback = model.flag("byte_fallback", false);
  spec.fuse_unk = model.flag("fuse_unk", false);
  spec.ignore_merges = model.flag("ignore_merges", false);
  lay_out(v, spec);
  if (model.has("unk_token")) {
    const auto at = v.ids.find(model.required("unk_token").text());
    if (at == v.ids.end()) {
      fail(ErrorKind::bad_input, "{}.model.unk_token: \"{}\" is not in the vocabulary", name,
           model.required("unk_token").text());
    }
    spec.unk = at->second;
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
  set_types(spec);
  if (!bytes) score(spec, v);
  return spec;
}

namespace {

/// What one of the small files says, as far as it says it.
class SideFile {
 public:
  SideFile(const fs::path& directory, const char* file) : name_((directory / file).string()) {
    if (fs::exists(directory / file)) content_ = parse(read_text(directory / file), name_);
    if (!content_.is_null() && !content_.is_object()) Field{content_, name_}.wrong("an object");
  }
  /// A token given by its text, or as {"content": text}.
  std::optional<std::string> token(const char* key) const {
    if (content_.is_null() || !content_.contains(key) || content_[key].is_null()) return std::nullopt;
    const Field field{content_[key], name_ + "." + key};
    return field.value.is_object() ? field.required("content").text() : field.text();
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

  spec.chat_template = config.chat_template();
  if (const fs::path jinja = directory / "chat_template.jinja"; fs::exists(jinja)) {
    spec.chat_template = read_text(jinja);
    require_utf8(spec.chat_template, jinja.string());
  }
  return spec;
}

}  // namespace kerf
