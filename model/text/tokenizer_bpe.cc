// Short words are merged by looking for the best pair again and again, which beats a queue while the word fits a few
// cache lines; long ones with a queue of (rank, position) whose outdated entries are skipped, so a run of a million
// equal characters takes n log n. Words of up to 255 bytes are remembered.
#include "model/text/tokenizer_bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "core/error.h"
#include "model/text/unicode.h"

namespace kerf {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581
// Longest remembered word: natural text repeats short ones.
constexpr size_t kLongestCached = 255;
// Up to here the quadratic search is the faster one (measured: they cross between 40 and 80 symbols).
constexpr size_t kShortWord = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t utf8_length(char first) {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

}  // namespace

BpeModel::BpeModel(const TokenizerSpec& spec, bool bytes)
    : spec_(spec),
      bytes_(bytes),
      by_score_(spec.kind == TokenizerSpec::Kind::spm_bpe && spec.merges.empty() && !spec.from_json),
      ids_(spec.tokens),
      in_model_(spec.tokens.size(), true) {
  for (size_t i = 0; i < spec.types.size(); ++i) {
    if (spec.types[i] == TokenType::unused) in_model_[i] = false;
  }
  for (const AddedToken& a : spec.added) in_model_[static_cast<size_t>(a.id)] = a.in_model;
  if (spec.model_unk) unk_ = *spec.model_unk;
  for (size_t b = 0; b < 256; ++b) {
    std::string spelling;
    if (bytes) {
      append_utf8(spelling, byte_letters()[b]);
    } else {
      spelling = fmt::format("<0x{:02X}>", b);
    }
    byte_ids_[b] = id_in_model(spelling);
  }
  if (by_score_) {
    read_scores();
  } else {
    read_merges();
  }
  cut_at_spaces_ = !bytes && id_in_model(kMetaspace) >= 0;
  if (cut_at_spaces_) find_joins();
}

void BpeModel::read_merges() {
  merges_.resize(std::bit_ceil(2 * spec_.merges.size() + 1));
  const size_t mask = merges_.size() - 1;
  std::string joined;
  for (size_t rank = 0; rank < spec_.merges.size(); ++rank) {
    const std::string_view line = spec_.merges[rank];
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      fail(ErrorKind::bad_input, "tokenizer: merge {} is \"{}\"; a merge is two tokens separated by one space", rank,
           line);
    }
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    joined.assign(left).append(right);
    const auto known = [&](std::string_view token) {
      const int32_t id = id_in_model(token);
      if (id < 0) {
        fail(ErrorKind::bad_input,
             "tokenizer: merge {} (\"{}\") needs the token \"{}\", which is not in the vocabulary", rank, line, token);
      }
      return id;
    };
    const uint64_t pair = pair_of(known(left), known(right));
    const auto id = static_cast<uint32_t>(known(joined));
    size_t at = mix(pair) & mask;
    while (merges_[at].merge.rank != UINT32_MAX && merges_[at].pair != pair) at = (at + 1) & mask;
    merges_[at] = {pair, {static_cast<uint32_t>(rank), id}};  // of two equal merges the later counts, as in the library
  }
}

void BpeModel::read_scores() {
  if (spec_.scores.size() != spec_.tokens.size()) {
    fail(ErrorKind::bad_input, "tokenizer: {} scores for {} tokens", spec_.scores.size(), spec_.tokens.size());
  }
  std::vector<float> distinct = spec_.scores;
  for (const float score : distinct) {
    if (score != score) fail(ErrorKind::bad_input, "tokenizer: a score is not a number");
  }
  std::sort(distinct.begin(), distinct.end(), std::greater<>());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  score_ranks_.reserve(spec_.scores.size());
  for (const float score : spec_.scores) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), score, std::greater<>());
    score_ranks_.push_back(static_cast<uint32_t>(at - distinct.begin()));
  }
}

// Tokens that merges make and in which U+2581 follows another character (Gemma 3 has one: ">\u2581</"). Behind any
// other character merging never crosses the start of a word, and a text may be cut there without changing its ids.
void BpeModel::find_joins() {
  const auto look_at = [&](std::string_view token) {
    for (size_t at = token.find(kMetaspace, 1); at != std::string_view::npos; at = token.find(kMetaspace, at + 1)) {
      if (at < kMetaspace.size() || token.substr(at - kMetaspace.size(), kMetaspace.size()) != kMetaspace)
        joins_[static_cast<unsigned char>(token[at - 1])] = true;
    }
  };
  if (by_score_) {
    for (const std::string& token : spec_.tokens) look_at(token);
  } else {
    for (const Slot& s : merges_) {
      if (s.merge.rank != UINT32_MAX) look_at(spec_.tokens[s.merge.id]);
    }
  }
}

int32_t BpeModel::id_in_model(std::string_view token) const {
  const int32_t id = ids_.find(token);
  return id >= 0 && in_model_[static_cast<size_t>(id)] ? id : -1;
}

void BpeModel::append(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const {
  if (!cut_at_spaces_) return append_cached(word, cache, out);
  size_t begin = 0;
  for (size_t cut = word.find(kMetaspace, 1); cut != std::string_view::npos; cut = word.find(kMetaspace, cut + 3)) {
    if (cut - begin >= 3 && word.substr(cut - 3, 3) == kMetaspace) continue;  // inside a run of spaces
    if (joins_[static_cast<unsigned char>(word[cut - 1])]) continue;
    append_cached(word.substr(begin, cut - begin), cache, out);
    begin = cut;
  }
  append_cached(word.substr(begin), cache, out);
}

void BpeModel::append_cached(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const {
  if (word.size() > kLongestCached) return compute(word, out);
  const uint64_t hash = hash_of(word);
  if (cache.append(word, hash, out)) return;
  const size_t before = out.size();
  compute(word, out);
  cache.learn(word, hash, std::span(out).subspan(before));
}

void BpeModel::compute(std::string_view word, std::vector<int32_t>& out) const {
  if (spec_.ignore_merges) {
    std::string letters;
    if (bytes_) {
      for (const char c : word) append_utf8(letters, byte_letters()[static_cast<unsigned char>(c)]);
    }
    const int32_t whole = id_in_model(bytes_ ? std::string_view(letters) : word);
    if (whole >= 0) return out.push_back(whole);
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  spell(word, symbols);
  if (symbols.size() <= kShortWord) {
    merge_short(word, symbols);
    for (const Symbol& s : symbols) {
      if (s.id >= 0) {
        out.push_back(s.id);
      } else if (!spell_in_bytes(word.substr(s.begin, s.size), out) && unk_ >= 0) {
        out.push_back(unk_);
      }
    }
    return;
  }
  merge_long(word, symbols);
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& s = symbols[static_cast<size_t>(i)];
    if (s.id >= 0) {
      out.push_back(s.id);
    } else if (!spell_in_bytes(word.substr(s.begin, s.size), out) && unk_ >= 0) {
      out.push_back(unk_);
    }
  }
}

std::optional<std::pair<int32_t, int32_t>> BpeModel::last_merge(int32_t id) const {
  const std::string& token = spec_.tokens[static_cast<size_t>(id)];
  const std::string word = bytes_ ? letters_to_bytes(token) : token;
  if (!in_model_[static_cast<size_t>(id)] || !spells(word)) return std::nullopt;
  std::vector<Symbol> symbols;
  spell(word, symbols);
  if (symbols.size() < 2) return std::nullopt;
  size_t right = 1;
  if (symbols.size() <= kShortWord) {
    merge_short(word, symbols, 2);
    if (symbols.size() > 2) return std::nullopt;
  } else {
    merge_long(word, symbols, 2);
    right = static_cast<size_t>(symbols[0].next);
    if (symbols[right].next >= 0) return std::nullopt;
  }
  const Merge last = merge_of(word, symbols[0], symbols[right]);
  if (last.rank == UINT32_MAX || last.id != static_cast<uint32_t>(id)) return std::nullopt;
  return std::pair(symbols[0].id, symbols[right].id);
}

// Whether the word becomes tokens without the unknown one.
bool BpeModel::spells(std::string_view word) const {
  std::vector<int32_t> bytes;
  for (size_t i = 0, size = 0; i < word.size(); i += size) {
    size = bytes_ ? 1 : utf8_length(word[i]);
    const std::string_view character = word.substr(i, size);
    const bool known = bytes_ ? byte_ids_[static_cast<unsigned char>(word[i])] >= 0 : id_in_model(character) >= 0;
    if (!known && (bytes_ || !spell_in_bytes(character, bytes))) return false;
  }
  return true;
}

// One symbol per character (per byte, where words are bytes). A character that is no token becomes its bytes if all of
// them are tokens, otherwise the unknown token (a run of them one, with fuse_unk), otherwise nothing. The library holds
// an unknown token back until the next character that is a token, so that bytes overtake it; so does this.
void BpeModel::spell(std::string_view word, std::vector<Symbol>& symbols) const {
  const auto add = [&](int32_t id, size_t begin, size_t size) {
    const auto n = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(size), n - 1, n + 1});
  };
  int unknown = 0;  // held back: 0 or 1
  std::vector<int32_t> bytes;
  for (size_t i = 0, size = 0; i < word.size(); i += size) {
    size = bytes_ ? 1 : utf8_length(word[i]);
    const std::string_view character = word.substr(i, size);
    const int32_t id = bytes_ ? byte_ids_[static_cast<unsigned char>(word[i])] : id_in_model(character);
    if (id >= 0 || by_score_) {
      if (unknown) add(unk_, i, 0);
      unknown = 0;
      add(id, i, size);
      continue;
    }
    bytes.clear();
    if (!bytes_ && spell_in_bytes(character, bytes)) {
      for (const int32_t b : bytes) add(b, i, 0);
    } else if (!spec_.missing_unk.empty()) {
      fail(ErrorKind::bad_input,
           "tokenizer: no token spells {}, and the unknown token \"{}\" of tokenizer.json is not in its vocabulary",
           bytes_ ? fmt::format("the byte 0x{:02X}", static_cast<unsigned char>(word[i]))
                  : fmt::format("\"{}\"", character),
           spec_.missing_unk);
    } else if (unk_ >= 0) {
      if (unknown && !spec_.fuse_unk) add(unk_, i, 0);
      unknown = 1;
    }
  }
  if (unknown) add(unk_, word.size(), 0);
  if (!symbols.empty()) symbols.back().next = -1;
}

bool BpeModel::spell_in_bytes(std::string_view character, std::vector<int32_t>& ids) const {
  if (!spec_.byte_fallback) return false;
  for (const char c : character) {
    if (byte_ids_[static_cast<unsigned char>(c)] < 0) return false;
  }
  for (const char c : character) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  return true;
}

BpeModel::Merge BpeModel::merge_of(std::string_view word, const Symbol& left, const Symbol& right) const {
  if (by_score_) {
    const int32_t id = id_in_model(word.substr(left.begin, left.size + right.size));
    return id < 0 ? kNone : Merge{score_ranks_[static_cast<size_t>(id)], static_cast<uint32_t>(id)};
  }
  const uint64_t pair = pair_of(left.id, right.id);
  const size_t mask = merges_.size() - 1;
  for (size_t at = mix(pair) & mask;; at = (at + 1) & mask) {
    if (merges_[at].merge.rank == UINT32_MAX) return kNone;
    if (merges_[at].pair == pair) return merges_[at].merge;
  }
}

void BpeModel::merge_short(std::string_view word, std::vector<Symbol>& symbols, size_t until) const {
  Merge merges[kShortWord];  // merges[i]: of symbols i and i + 1
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = merge_of(word, symbols[i], symbols[i + 1]);
  while (n > until) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == UINT32_MAX) break;
    symbols[best].id = static_cast<int32_t>(merges[best].id);
    symbols[best].size += symbols[best + 1].size;
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2, symbols.begin() + static_cast<std::ptrdiff_t>(n),
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --n;
    std::copy(merges + best + 1, merges + n, merges + best);
    if (best > 0) merges[best - 1] = merge_of(word, symbols[best - 1], symbols[best]);
    if (best + 1 < n) merges[best] = merge_of(word, symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

void BpeModel::merge_long(std::string_view word, std::vector<Symbol>& symbols, size_t until) const {
  struct Candidate {
    uint64_t rank_and_position;
    uint32_t id;
    bool operator<(const Candidate& o) const { return rank_and_position > o.rank_and_position; }  // lowest on top
  };
  std::vector<Candidate> candidates;
  const auto candidate = [&](int32_t left) -> std::optional<Candidate> {
    const Symbol& l = symbols[static_cast<size_t>(left)];
    const Merge m = merge_of(word, l, symbols[static_cast<size_t>(l.next)]);
    if (m.rank == UINT32_MAX) return std::nullopt;
    return Candidate{static_cast<uint64_t>(m.rank) << 32 | static_cast<uint32_t>(left), m.id};
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    if (const auto c = candidate(static_cast<int32_t>(i))) candidates.push_back(*c);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(candidates));
  constexpr int32_t kGone = -2;  // in prev: merged into the symbol on its left
  for (size_t n = symbols.size(); n > until && !queue.empty();) {
    const Candidate best = queue.top();
    queue.pop();
    const auto at = static_cast<int32_t>(best.rank_and_position & UINT32_MAX);
    Symbol& left = symbols[static_cast<size_t>(at)];
    if (left.prev == kGone || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge now = merge_of(word, left, right);
    if (now.rank == UINT32_MAX || now.id != best.id) continue;
    left.id = static_cast<int32_t>(best.id);
    left.size += right.size;
    left.next = right.next;
    right.prev = kGone;
    --n;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].prev = at;
      if (const auto c = candidate(at)) queue.push(*c);
    }
    if (left.prev >= 0) {
      if (const auto c = candidate(left.prev)) queue.push(*c);
    }
  }
}

}  // namespace kerf
