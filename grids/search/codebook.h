// The combinations of numbers that GGUF's IQ1, IQ2 and IQ3 types can store (core/iq_codebooks.h), and what goes with
// them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/iq_codebooks.h"

namespace kerf {

/// What a file says of eight weights beside the entries.
enum class SignEncoding {
  signs,           // of every weight
  even_signs,      // an even number of weights is negative
  delta_of_word,   // 1 or -1, added to all eight numbers
  delta_of_block,  // of a whole sub-block. A negative one stands as a negative scale: its codes are those of the
                   // numbers with opposite signs
};

/// An entry is the ranks of the numbers of `weights` neighbouring weights; the numbers are magnitudes where signs stand
/// beside them. A code is a rank, and `flag` added to it where the weight or the delta of its word is negative.
struct Codebook {
  Codebook(IqCodebook which, SignEncoding beside);

  SignEncoding beside;
  int weights = 8;            // of an entry: 8, or 4
  std::vector<float> number;  // ascending: 3, or 8
  uint8_t flag;               // 4, or 8
  int entries;
  std::vector<uint8_t> rank;   // [entries, weights]
  int half_count;              // of combinations of weights / 2 ranks: numbers whose first digit is the lowest
  std::vector<int16_t> index;  // of the entry with given ranks, by both halves: [half_count, half_count], -1 for none

  /// What the search runs through: the second halves there are, and for each one the first halves that go with it.
  struct Group {
    uint8_t second, count;
  };
  std::vector<Group> groups;
  std::vector<uint8_t> firsts;
  /// The numbers and the ranks of each half, a byte each, the first one lowest.
  std::vector<int32_t> half_numbers, half_ranks;

  bool has_signs() const { return beside == SignEncoding::signs || beside == SignEncoding::even_signs; }
  int half_of(const uint8_t* ranks) const;
  /// The entry of these codes, flags aside; Error internal when it is not in the book.
  int entry_of(const uint8_t* codes) const;
  /// What a code stands for, before it is scaled.
  std::vector<float> numbers() const;
};

/// One of "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s".
const Codebook& codebook(std::string_view name);

}  // namespace kerf
