// Open addressing with linear probing: one cache line per look-up more often than not.
#include "model/text/tokenizer_words.h"

#include <bit>
#include <cstring>

#include "model/text/unicode.h"

namespace kerf {
namespace {

// Most words that are remembered: 2^17 is more than the distinct words of a hundred megabytes of English, and bounds
// the memory to some tens of megabytes.
constexpr size_t kMostCached = size_t{1} << 17;

}  // namespace

uint64_t mix(uint64_t h) {  // the finisher of MurmurHash3
  h ^= h >> 33;
  h *= 0xFF51AFD7ED558CCDULL;
  h ^= h >> 33;
  h *= 0xC4CEB9FE1A85EC53ULL;
  return h ^ h >> 33;
}

uint64_t hash_of(std::string_view s) {
  uint64_t h = s.size() * 0x9E3779B97F4A7C15ULL;
  size_t i = 0;
  for (; i + 8 <= s.size(); i += 8) {
    uint64_t part;
    std::memcpy(&part, s.data() + i, 8);
    h = mix(h ^ part);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, s.data() + i, s.size() - i);
  return mix(h ^ rest);
}

TokenMap::TokenMap(const std::vector<std::string>& tokens)
    : tokens_(tokens), slots_(std::bit_ceil(2 * tokens.size() + 1)) {
  const size_t mask = slots_.size() - 1;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const uint64_t hash = hash_of(tokens[i]);
    const auto high = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & mask;
    while (slots_[at].id >= 0 &&
           !(slots_[at].hash == high && tokens[static_cast<size_t>(slots_[at].id)] == tokens[i])) {
      at = (at + 1) & mask;
    }
    if (slots_[at].id < 0) slots_[at] = {high, static_cast<int32_t>(i)};
  }
}

int32_t TokenMap::find(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = hash_of(token);
  const auto high = static_cast<uint32_t>(hash >> 32);
  for (size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].hash == high && tokens_[static_cast<size_t>(slots_[at].id)] == token) return slots_[at].id;
  }
  return -1;
}

const std::array<uint32_t, 256>& byte_letters() {
  static const std::array<uint32_t, 256> letters = [] {
    std::array<uint32_t, 256> table{};
    uint32_t free = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      table[b] = printable ? b : free++;
    }
    return table;
  }();
  return letters;
}

std::string letters_to_bytes(std::string_view token) {
  static const std::array<int16_t, 0x144> bytes = [] {  // 0x100 + the 68 bytes that are not printable
    std::array<int16_t, 0x144> table;
    table.fill(-1);
    for (size_t b = 0; b < 256; ++b) table[byte_letters()[b]] = static_cast<int16_t>(b);
    return table;
  }();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const Utf8Char c = decode_utf8(token.data() + i);
    if (c.code >= bytes.size() || bytes[c.code] < 0) return std::string(token);
    out.push_back(static_cast<char>(static_cast<unsigned char>(bytes[c.code])));
    i += c.bytes;
  }
  return out;
}

WordCache::WordCache() : entries_(1024) {}

bool WordCache::append(std::string_view word, uint64_t hash, std::vector<int32_t>& out) const {
  const size_t mask = entries_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Entry& e = entries_[at];
    if (e.word_size == 0) return false;
    if (e.hash == hash && e.word_size == word.size() &&
        std::memcmp(words_.data() + e.word, word.data(), word.size()) == 0) {
      const int32_t* ids = ids_.data() + e.ids;
      if (e.ids_size == 1) {
        out.push_back(*ids);
      } else {
        out.insert(out.end(), ids, ids + e.ids_size);
      }
      return true;
    }
  }
}

void WordCache::learn(std::string_view word, uint64_t hash, std::span<const int32_t> ids) {
  if (used_ == kMostCached) return;
  if (2 * used_ >= entries_.size()) grow();
  const size_t mask = entries_.size() - 1;
  size_t at = hash & mask;
  while (entries_[at].word_size != 0) at = (at + 1) & mask;
  entries_[at] = {.hash = hash,
                  .word = static_cast<uint32_t>(words_.size()),
                  .word_size = static_cast<uint32_t>(word.size()),
                  .ids = static_cast<uint32_t>(ids_.size()),
                  .ids_size = static_cast<uint32_t>(ids.size())};
  words_ += word;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++used_;
}

void WordCache::grow() {
  std::vector<Entry> old(entries_.size() * 4);
  old.swap(entries_);
  const size_t mask = entries_.size() - 1;
  for (const Entry& e : old) {
    if (e.word_size == 0) continue;
    size_t at = e.hash & mask;
    while (entries_[at].word_size != 0) at = (at + 1) & mask;
    entries_[at] = e;
  }
}

}  // namespace kerf
