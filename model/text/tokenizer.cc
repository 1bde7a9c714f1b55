// A tokenizer is its spec and what is prepared from it once: the merge table, the cut points, the tries of added
// tokens.
#include "model/text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "model/text/tokenizer_added.h"
#include "model/text/tokenizer_bpe.h"
#include "model/text/tokenizer_decode.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

using Kind = TokenizerSpec::Kind;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

void require_token(const TokenizerSpec& spec, int32_t id, std::string_view what) {
  if (id >= 0 && static_cast<size_t>(id) < spec.tokens.size()) return;
  fail(ErrorKind::bad_input, "tokenizer: {} is token {}, outside the vocabulary of {}", what, id, spec.tokens.size());
}

// What a GGUF file leaves unsaid, as llama.cpp understands it. The exception is NFC for qwen2, which that runtime does
// not do and the library does.
void imply(TokenizerSpec& spec) {
  if (spec.types.empty()) spec.types.assign(spec.tokens.size(), TokenType::normal);
  if (spec.types.size() != spec.tokens.size()) {
    fail(ErrorKind::bad_input, "tokenizer: {} token types for {} tokens", spec.types.size(), spec.tokens.size());
  }
  if (spec.added.empty()) {
    for (size_t i = 0; i < spec.tokens.size(); ++i) {
      const TokenType type = spec.types[i];
      if (type != TokenType::control && type != TokenType::user_defined && type != TokenType::unknown) continue;
      spec.added.push_back({.id = static_cast<int32_t>(i),
                            .content = spec.tokens[i],
                            .special = type != TokenType::user_defined,
                            .in_model = true});
    }
  }
  if (spec.kind == Kind::spm_bpe && !spec.model_unk) spec.model_unk = spec.unk;
  if (spec.kind == Kind::byte_level_bpe) {
    if (spec.pre_tokenizer.empty()) spec.pre_tokenizer = pre_tokenizer_steps(spec.pre.empty() ? "default" : spec.pre);
    const std::string name = pre_tokenizer_name(spec.pre_tokenizer);
    if (name == "qwen2" && spec.normalizer.empty()) spec.normalizer = {{.kind = NormalizerStep::Kind::nfc}};
    if (name == "llama-bpe" || name == "tekken") spec.ignore_merges = true;
    if (spec.decoder.empty()) spec.decoder = {{.kind = DecoderStep::Kind::byte_level}};
  } else {
    using N = NormalizerStep;
    using D = DecoderStep;
    spec.byte_fallback = spec.fuse_unk = true;
    if (spec.normalizer.empty()) {
      if (spec.add_space_prefix)
        spec.normalizer.push_back({.kind = N::Kind::prepend, .content = std::string(kMetaspace)});
      spec.normalizer.push_back({.kind = N::Kind::replace, .pattern = " ", .content = std::string(kMetaspace)});
    }
    if (spec.decoder.empty()) {
      spec.decoder = {{.kind = D::Kind::replace, .pattern = std::string(kMetaspace), .content = " "},
                      {.kind = D::Kind::byte_fallback},
                      {.kind = D::Kind::fuse}};
      if (spec.add_space_prefix) spec.decoder.push_back({.kind = D::Kind::strip, .content = " ", .start = 1});
    }
  }
  if (spec.prefix.empty() && spec.add_bos && spec.bos) spec.prefix = {*spec.bos};
  if (spec.suffix.empty() && spec.add_eos && spec.eos) spec.suffix = {*spec.eos};
}

void check(const TokenizerSpec& spec) {
  if (spec.tokens.empty()) fail(ErrorKind::bad_input, "tokenizer: the vocabulary is empty");
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (find_invalid_utf8(spec.tokens[i]) == std::string::npos) continue;
    fail(ErrorKind::bad_input, "tokenizer: token {} is not valid UTF-8", i);
  }
  for (const AddedToken& a : spec.added) {
    require_token(spec, a.id, "an added token");
    require_utf8(a.content, "tokenizer: an added token");
  }
  const std::pair<const std::optional<int32_t>*, std::string_view> named[] = {
      {&spec.bos, "BOS"},
      {&spec.eos, "EOS"},
      {&spec.unk, "the unknown token"},
      {&spec.pad, "PAD"},
      {&spec.model_unk, "the model's unknown token"}};
  for (const auto& [id, what] : named) {
    if (*id) require_token(spec, **id, what);
  }
  for (const int32_t id : spec.ends) require_token(spec, id, "a token that ends a text");
  for (const int32_t id : spec.prefix) require_token(spec, id, "the template's prefix");
  for (const int32_t id : spec.suffix) require_token(spec, id, "the template's suffix");
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  size_t begin = 0;
  for (size_t at = 0; !what.empty() && (at = text.find(what, begin)) != std::string_view::npos;) {
    out.append(text.substr(begin, at - begin)).append(by);
    begin = at + what.size();
  }
  out.append(text.substr(begin));
  return out;
}

std::string normalize(std::span<const NormalizerStep> steps, std::string_view text) {
  std::string out(text);
  for (const NormalizerStep& step : steps) {
    switch (step.kind) {
      case NormalizerStep::Kind::nfc:
        out = nfc(out);
        break;
      case NormalizerStep::Kind::prepend:
        if (!out.empty()) out.insert(0, step.content);
        break;
      case NormalizerStep::Kind::replace:
        out = replace_all(out, step.pattern, step.content);
        break;
    }
  }
  return out;
}

}  // namespace

struct Tokenizer::Parts {
  explicit Parts(TokenizerSpec s)
      : spec(std::move(s)), pre_tokenizer(spec.pre_tokenizer), model(spec, pre_tokenizer.bytes()) {
    std::unordered_set<std::string_view> special;
    for (const AddedToken& a : spec.added) {
      if (a.special) special.insert(a.content);
    }
    for (const AddedToken& a : spec.added) {
      // The library decodes an added token to the form in which it seeks it, and decides by that form whether it is
      // special: the Llama 2 <s> becomes U+2581 <s> and is never left out.
      std::string form = a.normalized ? normalize(spec.normalizer, a.content) : a.content;
      (a.normalized ? in_normalized : in_text).add(form, a);
      if (special.contains(form)) hidden.insert(a.id);
      if (form != spec.tokens[static_cast<size_t>(a.id)]) shown.emplace(a.id, std::move(form));
    }
  }

  TokenizerSpec spec;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  AddedMatcher in_text, in_normalized;
  std::unordered_map<int32_t, std::string> shown;  // added tokens that decode to something else than their spelling
  std::unordered_set<int32_t> hidden;              // left out by skip_special

  std::mutex cache_in_use;
  WordCache cache;
};

Tokenizer::Tokenizer(TokenizerSpec spec) {
  if (!spec.from_json) imply(spec);
  check(spec);
  parts_ = std::make_unique<Parts>(std::move(spec));
}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::from_directory(const std::filesystem::path& directory) {
  return Tokenizer(read_tokenizer_spec(directory));
}

const TokenizerSpec& Tokenizer::spec() const { return parts_->spec; }
std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  const int32_t id = parts_->model.find(token);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}
std::optional<std::pair<int32_t, int32_t>> Tokenizer::last_merge(int32_t id) const {
  return parts_->model.last_merge(id);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  require_utf8(text, "text");
  // Positions are 32 bits wide, and normalising may make three bytes of one.
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max() / 4)) {
    fail(ErrorKind::unsupported, "text: {} bytes; kerf tokenises up to {} at a time", text.size(),
         std::numeric_limits<int32_t>::max() / 4);
  }
  Parts& p = *parts_;
  std::vector<int32_t> ids;
  if (add_special) ids = p.spec.prefix;

  // Whoever comes second works with a cache of its own: what is remembered never changes an id.
  std::unique_lock<std::mutex> lock(p.cache_in_use, std::try_to_lock);
  std::optional<WordCache> own;
  if (!lock.owns_lock()) own.emplace();
  WordCache& cache = own ? *own : p.cache;

  const PreTokenizer::Emit emit = [&](std::string_view word) { p.model.append(word, cache, ids); };
  for (const TextCut& cut : p.in_text.cut(text)) {
    if (cut.id >= 0) {
      ids.push_back(cut.id);
      continue;
    }
    std::string_view piece = text.substr(cut.begin, cut.end - cut.begin);
    std::string normalized;
    if (!p.spec.normalizer.empty()) piece = normalized = normalize(p.spec.normalizer, piece);
    for (const TextCut& part : p.in_normalized.cut(piece)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        p.pre_tokenizer.split(piece.substr(part.begin, part.end - part.begin), cut.begin == 0 && part.begin == 0, emit);
      }
    }
  }
  if (add_special) ids.insert(ids.end(), p.spec.suffix.begin(), p.spec.suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const Parts& p = *parts_;
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size() || p.spec.types[static_cast<size_t>(id)] == TokenType::unused) continue;
    if (skip_special && p.hidden.contains(id)) continue;
    const auto other = p.shown.find(id);
    tokens.push_back(other == p.shown.end() ? p.spec.tokens[static_cast<size_t>(id)] : other->second);
  }
  return decode_tokens(p.spec.decoder, std::move(tokens));
}

}  // namespace kerf
