// The search of scales and words of a codebook, compiled once per instruction set from one text
// (codebook_search_body.h): every machine finds the same.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "grids/search/codebook.h"

namespace kerf {

/// `supers` super-blocks of 256 weights, one after the other in w; value = d (2 s + 1) unit number, with s of 0 ...
/// steps for `sub` weights, 16 or 32.
struct WordFitProblem {
  const Codebook& book;
  const float* w;
  int64_t supers;
  const float* importance;  // of super-block b: importance + (b % importance_supers) * 256; nullptr for ones
  int64_t importance_supers;
  int sub, steps;
  float unit;
};

struct CodebookSearch {
  Isa isa;
  /// d of every super-block, as it will read back from F16; s of every sub-block, and steps + 1 on top where the delta
  /// of a block is negative; and the codes that encode() finds for them. A d that is not finite does not fit.
  void (*search)(const WordFitProblem&, float* d, uint8_t* s, uint8_t* codes);
  /// The best words for the scale of each sub-block. The cost of half a word is rounded to 17 bits, and where signs are
  /// even the one that has to be wrong is chosen before and once more after the entry.
  void (*encode)(const WordFitProblem&, const float* scale, uint8_t* codes);
  /// The same for words of `weights` weights, each under its own scale: x, codes and values are [weights, n], n a
  /// multiple of 16. The errors of a row count by its importance.
  void (*round)(const Codebook&, int weights, const float* scale, const float* x, const float* importance, int64_t n,
                uint8_t* codes, float* values);
};

std::span<const CodebookSearch* const> all_codebook_searches();

}  // namespace kerf
