#include "model/text/tokenizer_tables.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "core/error.h"

namespace kerf {
namespace {

using Kind = TokenizerSpec::Kind;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581
constexpr std::string_view kBar = "\xEF\xBD\x9C";        // U+FF5C, the bar of DeepSeek's special tokens

// llama.cpp, conversion: does_token_look_special().
bool looks_special(std::string_view t) {
  const auto between = [t](const std::string& left, const std::string& right) {
    return t.size() >= left.size() + right.size() && t.starts_with(left) && t.ends_with(right);
  };
  const std::string bar(kBar);
  return t == "<pad>" || t == "<mask>" || t == "<2mass>" || t == "[@BOS@]" || between("<|", "|>") ||
         between("<" + bar, bar + ">") || between("<unused", ">");
}

std::string with_spaces(std::string_view token) {
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; (at = token.find(kMetaspace, begin)) != std::string_view::npos; begin = at + kMetaspace.size())
    out.append(token.substr(begin, at - begin)).append(" ");
  return out.append(token.substr(begin));
}

// See the header: of an spm_bpe spec without a space prefix.
std::vector<float> running_scores(const TokenizerSpec& s, const std::vector<int32_t>& types) {
  std::unordered_map<std::string, size_t> first_merge;
  first_merge.reserve(s.merges.size());
  for (size_t rank = 0; rank < s.merges.size(); ++rank) {
    std::string joined = s.merges[rank];
    std::erase(joined, ' ');
    first_merge.emplace(std::move(joined), rank);
  }
  constexpr size_t kNever = std::numeric_limits<size_t>::max();
  std::vector<std::pair<size_t, size_t>> order;  // (first merge, id) of normal tokens
  std::vector<float> scores(s.tokens.size(), 0.0f);
  for (size_t i = 0; i < s.tokens.size(); ++i) {
    if (types[i] != static_cast<int32_t>(TokenType::normal)) continue;
    const auto made = first_merge.find(s.tokens[i]);
    order.emplace_back(made == first_merge.end() ? kNever : made->second, i);
  }
  std::sort(order.begin(), order.end());
  for (size_t k = 0; k < order.size(); ++k) scores[order[k].second] = -static_cast<float>(k);
  for (const AddedToken& a : s.added) scores[static_cast<size_t>(a.id)] = -1000;
  return scores;
}

}  // namespace

TokenizerTables tokenizer_tables(const TokenizerSpec& s, int64_t rows) {
  const bool spm = s.kind == Kind::spm_bpe;
  const auto vocab = static_cast<size_t>(rows);
  if (s.tokens.empty())
    fail(ErrorKind::bad_input, "the checkpoint has no tokenizer.json, and a GGUF file needs its tokens");
  if (s.tokens.size() > vocab)
    fail(ErrorKind::bad_input, "the tokenizer has {} tokens, and the embedding only {} rows", s.tokens.size(), vocab);
  if (!spm && s.pre.empty())
    fail(ErrorKind::unsupported, "the tokenizer cuts words by a pattern that has no name in llama.cpp");

  TokenizerTables t{.model = spm ? "llama" : "gpt2", .pre = spm ? "default" : s.pre, .tokens = s.tokens};
  for (const TokenType type : s.types) t.types.push_back(static_cast<int32_t>(type));
  const bool running = spm && s.from_json && !s.add_space_prefix;
  if (s.from_json) {
    for (const AddedToken& a : s.added) {
      const auto id = static_cast<size_t>(a.id);
      const bool control = a.special || looks_special(a.content);
      if (s.types[id] != TokenType::unknown || running)
        t.types[id] = static_cast<int32_t>(control ? TokenType::control : TokenType::user_defined);
      if (running && !control) t.tokens[id] = with_spaces(t.tokens[id]);
    }
  }
  if (spm) {
    t.scores = running ? running_scores(s, t.types) : s.scores;
    t.scores.resize(vocab, 0.0f);
  } else {
    t.merges = s.merges;
  }
  for (size_t i = t.tokens.size(); i < vocab; ++i) t.tokens.push_back(fmt::format("[PAD{}]", i));
  t.types.resize(vocab, static_cast<int32_t>(TokenType::unused));
  return t;
}

void drop_tokens_past(TokenizerSpec& s, int64_t rows) {
  if (rows < 0 || s.tokens.size() <= static_cast<size_t>(rows)) return;
  const auto past = [rows](int32_t id) { return id >= rows; };
  const auto other_end = std::find_if_not(s.ends.begin(), s.ends.end(), past);
  if ((s.bos && past(*s.bos)) || (s.eos && past(*s.eos) && other_end == s.ends.end())) return;
  if (std::any_of(s.prefix.begin(), s.prefix.end(), past) || std::any_of(s.suffix.begin(), s.suffix.end(), past))
    return;
  for (auto i = static_cast<size_t>(rows); i < s.tokens.size(); ++i) {
    const auto here = [i](const AddedToken& a) { return static_cast<size_t>(a.id) == i && !a.in_model; };
    const bool added = std::any_of(s.added.begin(), s.added.end(), here);
    if (!added && s.types[i] != TokenType::unused) return;
  }
  std::string names;
  size_t count = 0;
  constexpr size_t kMostNames = 4;
  for (const AddedToken& a : s.added)
    if (past(a.id) && count++ < kMostNames)
      names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", a.content, a.id);
  if (count > 0)
    s.remarks.push_back(
        fmt::format("added tokens without a row in the embedding of {} are left out, in a text they are ordinary text: "
                    "{}{}",
                    rows, names, count > kMostNames ? fmt::format(", ... ({} in all)", count) : ""));
  if (s.eos && past(*s.eos)) {
    s.eos = *other_end;
    s.ends.erase(other_end);
  }
  for (std::optional<int32_t>* id : {&s.unk, &s.pad})
    if (*id && past(**id)) id->reset();
  std::erase_if(s.ends, past);
  std::erase_if(s.added, [&](const AddedToken& a) { return past(a.id); });
  s.tokens.resize(static_cast<size_t>(rows));
  s.types.resize(static_cast<size_t>(rows));
  if (!s.scores.empty()) s.scores.resize(static_cast<size_t>(rows));
}

}  // namespace kerf
