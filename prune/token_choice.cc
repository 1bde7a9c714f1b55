// Taking away from above keeps a vocabulary closed at every step and hits the wanted size exactly; counts that pass
// from a token to its parts make the price of each step what it costs in tokens (but for merges that a part may then
// make with its other neighbour).
#include "prune/token_choice.h"

#include <array>
#include <optional>
#include <queue>
#include <string>
#include <utility>

#include "core/error.h"
#include "model/text/tokenizer_words.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

bool is_one_character(const std::string& token) {
  return !token.empty() && decode_utf8(token.data()).bytes == token.size();
}

std::vector<int32_t> bytes_as_letters(const Tokenizer& t) {
  std::vector<int32_t> ids;
  for (const uint32_t letter : byte_letters()) {
    std::string token;
    append_utf8(token, letter);
    if (const auto id = t.find(token)) ids.push_back(*id);
  }
  return ids;
}

std::vector<int32_t> bytes_and_characters(const Tokenizer& t) {
  const TokenizerSpec& spec = t.spec();
  std::vector<int32_t> ids;
  std::array<bool, 256> has_byte{};
  if (spec.byte_fallback) {
    for (size_t b = 0; b < has_byte.size(); ++b) {
      const auto id = t.find(fmt::format("<0x{:02X}>", b));
      has_byte[b] = id.has_value();
      if (id) ids.push_back(*id);
    }
  }
  std::string put_in(kMetaspace);
  for (const NormalizerStep& step : spec.normalizer) put_in += step.content;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (spec.types[id] == TokenType::unused || !is_one_character(token)) continue;
    bool spelled = true;
    for (const char c : token) spelled &= has_byte[static_cast<unsigned char>(c)];
    if (!spelled || put_in.find(token) != put_in.npos) ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

// What each occurrence costs when the token is gone: one token more, or of a character that its bytes then spell, as
// many as those are (no fewer for a single one, which is a token that the model hardly knows).
int64_t price(const TokenizerSpec& spec, size_t id, bool merged) {
  const bool character = spec.kind == TokenizerSpec::Kind::spm_bpe && is_one_character(spec.tokens[id]);
  return !merged && character ? static_cast<int64_t>(spec.tokens[id].size()) : 1;
}

}  // namespace

std::vector<int32_t> alphabet_of(const Tokenizer& t) {
  return t.spec().kind == TokenizerSpec::Kind::byte_level_bpe ? bytes_as_letters(t) : bytes_and_characters(t);
}

void keep_parts(const Tokenizer& t, std::span<Keep> keep) {
  std::vector<int32_t> open;
  for (size_t id = 0; id < keep.size(); ++id)
    if (keep[id] != Keep::no) open.push_back(static_cast<int32_t>(id));
  while (!open.empty()) {
    const auto parts = t.last_merge(open.back());
    open.pop_back();
    if (!parts) continue;
    for (const int32_t part : {parts->first, parts->second}) {
      Keep& k = keep[static_cast<size_t>(part)];
      if (k != Keep::no) continue;
      k = Keep::part;
      open.push_back(part);
    }
  }
}

void keep_most_useful(const Tokenizer& t, std::span<const int64_t> used, int64_t most, int64_t rows,
                      const std::vector<bool>& never, std::span<Keep> keep) {
  const TokenizerSpec& spec = t.spec();
  const size_t n = keep.size();
  std::vector<bool> there(n);
  std::vector<std::optional<std::pair<int32_t, int32_t>>> parts(n);
  std::vector<int64_t> counts(used.begin(), used.end()), users(n, 0);  // users: tokens that are made of it
  int64_t left = 0;
  for (size_t id = 0; id < n; ++id) {
    const bool has_row = static_cast<int64_t>(id) < rows;
    there[id] = keep[id] != Keep::no || (has_row && !never[id] && spec.types[id] != TokenType::unused);
    if (!there[id]) continue;
    left += has_row;
    parts[id] = t.last_merge(static_cast<int32_t>(id));
    if (!parts[id]) continue;
    ++users[static_cast<size_t>(parts[id]->first)];
    ++users[static_cast<size_t>(parts[id]->second)];
  }
  if (left < most)
    fail(ErrorKind::usage, "a vocabulary of {} tokens is asked for, and only {} of this one can be kept", most, left);

  // The cheapest on top; of equal ones that with the highest id, which is the rarer one where ids follow the merges.
  std::priority_queue<std::pair<int64_t, size_t>> removable;
  const auto offer = [&](size_t id) {
    if (there[id] && keep[id] == Keep::no && users[id] == 0)
      removable.emplace(-counts[id] * price(spec, id, parts[id].has_value()), id);
  };
  for (size_t id = 0; id < n; ++id) offer(id);
  for (; left > most && !removable.empty(); --left) {
    const size_t id = removable.top().second;
    removable.pop();
    there[id] = false;
    if (!parts[id]) continue;
    for (const int32_t part : {parts[id]->first, parts[id]->second}) {
      const auto p = static_cast<size_t>(part);
      counts[p] += counts[id];
      if (--users[p] == 0) offer(p);
    }
  }
  for (size_t id = 0; id < n; ++id)
    if (there[id] && keep[id] == Keep::no)
      keep[id] = counts[id] > 0 ? Keep::used : users[id] > 0 ? Keep::part : Keep::rest;
}

}  // namespace kerf
