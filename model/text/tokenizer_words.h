// Tables that a tokenizer looks words and tokens up in.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

uint64_t hash_of(std::string_view);
/// Spreads the bits of a number over all of it.
uint64_t mix(uint64_t);

/// Ids of tokens by their spelling. Keeps a reference to the tokens; of equal ones the first counts.
class TokenMap {
 public:
  explicit TokenMap(const std::vector<std::string>& tokens);
  /// -1 when there is no such token.
  int32_t find(std::string_view token) const;

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
  };
  const std::vector<std::string>& tokens_;
  std::vector<Slot> slots_;  // open addressing, a power of two
};

/// The letter that stands for a byte in the tokens of byte-level BPE: itself if it is printable in Latin-1, otherwise
/// the next free one from U+0100 on (GPT-2's table).
const std::array<uint32_t, 256>& byte_letters();
/// The bytes that a token's letters stand for; the token itself when one of its characters is no such letter.
std::string letters_to_bytes(std::string_view token);

/// Ids of words met before. It forgets nothing and stops learning when full.
class WordCache {
 public:
  WordCache();
  /// Appends the ids of a word to `out`, if it is known.
  bool append(std::string_view word, uint64_t hash, std::vector<int32_t>& out) const;
  /// REQUIRES: the word is not known.
  void learn(std::string_view word, uint64_t hash, std::span<const int32_t> ids);

 private:
  struct Entry {
    uint64_t hash = 0;
    uint32_t word = 0, word_size = 0;  // in words_; size 0: free
    uint32_t ids = 0, ids_size = 0;    // in ids_
  };
  void grow();

  std::vector<Entry> entries_;  // open addressing, a power of two
  size_t used_ = 0;
  std::string words_;
  std::vector<int32_t> ids_;
};

}  // namespace kerf
