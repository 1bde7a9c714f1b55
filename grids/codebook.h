// The combinations of magnitudes that GGUF's IQ2 and IQ3 types can store (core/iq_codebooks.h), and what goes with
// them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/iq_codebooks.h"
#include "grids/alphabet.h"

namespace kerf {

/// An entry is the ranks of the magnitudes of `weights` neighbouring weights. A code is a rank, and `negative` added to
/// it where the weight is negative.
struct Codebook {
  Codebook(IqCodebook which, bool even);

  int weights = 8;               // of an entry: 8, or 4
  bool even;                     // of eight weights an even number is negative
  std::vector<float> magnitude;  // ascending: 3, or 8
  Alphabet alone{{0, 1}};        // of the magnitudes
  std::vector<float> values;     // the magnitudes of the entries: [entries, weights]
  uint8_t negative;              // 4, or 8
  int entries;
  std::vector<uint8_t> rank;  // [entries, weights]
  std::vector<uint8_t>
      halves;      // [entries, 2]: the first and the second half of the ranks as numbers, first digit lowest
  int half_count;  // of such numbers
  std::vector<int16_t> index;  // of the entry with given ranks, by both halves: [half_count, half_count], -1 for none

  int half_of(const uint8_t* ranks) const;
  /// The entry of these codes; Error internal when it is not in the book.
  int entry_of(const uint8_t* codes) const;
  /// What a code stands for, before it is scaled.
  std::vector<float> numbers() const;
};

/// One of "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s".
const Codebook& codebook(std::string_view name);

}  // namespace kerf
