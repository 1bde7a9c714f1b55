// The search of a codebook, compiled once per instruction set from one text (wordfitter_body.h): every machine finds
// the same entries.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "grids/codebook.h"

namespace kerf {

/// `words` groups of book.weights weights, a multiple of 16, side by side: weight j of group i is w[j * words + i], its
/// importance v[j * words + i]. Magnitudes are wanted: a negative weight asks for the smallest. All arrays are aligned
/// to 64 bytes.
struct WordProblem {
  const Codebook& book;
  int words;
  const float *w, *v, *scale;  // scale of each group
};

struct WordFitter {
  Isa isa;
  /// entry[i] = the first entry g with the smallest sum v (w - scale g)^2.
  void (*choose)(const WordProblem&, int32_t* entry);
  /// What the magnitudes g[j * words + i] of those entries come to: wg[i] = sum v w g and gg[i] = sum v g^2.
  void (*rate)(const WordProblem&, const int32_t* entry, float* g, float* wg, float* gg);
  /// The same where every weight takes the magnitude nearest to w / scale by itself.
  void (*rate_alone)(const WordProblem&, float* wg, float* gg);
};

std::span<const WordFitter* const> all_wordfitters();

}  // namespace kerf
