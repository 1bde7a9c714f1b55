// The joint search of the two levels of scales that GGUF's K types have, compiled once per instruction set from one
// text (superblock_search_body.h), so that every machine finds the same parameters bit for bit.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "grids/search/level_table.h"

namespace kerf {

/// `supers` super-blocks of 256 weights, one after the other in w. Affine: value = (d s) code - (e m); else
/// value = (d s) (code - 2^(bits-1)).
struct KFitProblem {
  const float* w;
  int64_t supers;
  const float* importance;  // of super-block b: importance + (b % importance_supers) * 256; nullptr for ones
  int64_t importance_supers;
  int bits, sub, sub_bits;        // of a code; weights of a sub-block, 16 or 32; bits of s and m
  bool affine;                    // s and m run from 0; else s is signed
  const LevelTable* level_table;  // of a problem that is not affine: instead of code - 2^(bits-1); or nullptr
};

/// The parameters of the problem: s and m for every sub-block, d and e (as they will read back from F16) for every
/// super-block. Unless affine, e and m are not touched. A d or e that is not finite does not fit.
struct SuperblockParams {
  float *d, *e, *s, *m;
};

struct SuperblockSearch {
  Isa isa;
  void (*search)(const KFitProblem&, const SuperblockParams&);
};

std::span<const SuperblockSearch* const> all_superblock_searches();

}  // namespace kerf
