// Byte-pair encoding of one word.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/text/tokenizer.h"
#include "model/text/tokenizer_words.h"

namespace kerf {

/// The merging part of a tokenizer. Keeps a reference to the spec.
class BpeModel {
 public:
  /// `bytes`: words are raw bytes, spelled as letters in the tokens; otherwise they are spelled as they stand.
  /// Error bad_input for merges of unknown tokens, unsupported for what kerf cannot merge by.
  BpeModel(const TokenizerSpec&, bool bytes);

  /// Appends the ids of a word (any length).
  void append(std::string_view word, WordCache&, std::vector<int32_t>& out) const;
  /// -1 when there is no such token.
  int32_t find(std::string_view token) const { return ids_.find(token); }
  /// See Tokenizer.
  std::optional<std::pair<int32_t, int32_t>> last_merge(int32_t id) const;

 private:
  struct Merge {
    uint32_t rank, id;
  };
  static constexpr Merge kNone = {UINT32_MAX, 0};
  struct Symbol {
    int32_t id;  // -1: a character that is no token, when merging by score
    uint32_t begin, size;
    int32_t prev, next;
  };

  void read_merges();
  void read_scores();
  void find_joins();
  int32_t id_in_model(std::string_view token) const;
  void compute(std::string_view word, std::vector<int32_t>& out) const;
  void append_cached(std::string_view word, WordCache&, std::vector<int32_t>& out) const;
  void spell(std::string_view word, std::vector<Symbol>& symbols) const;
  bool spell_in_bytes(std::string_view character, std::vector<int32_t>& ids) const;
  Merge merge_of(std::string_view word, const Symbol& left, const Symbol& right) const;
  bool spells(std::string_view word) const;
  // Until so many symbols are left, or nothing merges any more.
  void merge_short(std::string_view word, std::vector<Symbol>& symbols, size_t until = 1) const;
  void merge_long(std::string_view word, std::vector<Symbol>& symbols, size_t until = 1) const;

  const TokenizerSpec& spec_;
  bool bytes_;
  bool by_score_ = false;
  // spm_bpe: merging never crosses the U+2581 that begins a word, so a text may be cut in front of it, except behind
  // these bytes: those that a token has in front of an inner U+2581.
  bool cut_at_spaces_ = false;
  std::array<bool, 256> joins_{};
  int32_t unk_ = -1;
  TokenMap ids_;                         // every token
  std::vector<bool> in_model_;           // by id: words may merge into it
  std::array<int32_t, 256> byte_ids_{};  // bytes: of the letter; else of <0xNN>; -1 where there is none
  std::vector<uint32_t> score_ranks_;    // by id, when merging by score
  struct Slot {
    uint64_t pair = UINT64_MAX;
    Merge merge = kNone;
  };
  std::vector<Slot> merges_;  // open addressing, a power of two
};

}  // namespace kerf
