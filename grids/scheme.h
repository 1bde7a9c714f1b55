// How the numbers of a compressed matrix are written down: which grid, how many bits, and what each scale covers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace kerf {

/// The part of a matrix that one parameter covers. 0 means the whole extent: {1, 0} is one row, {0, 0} the whole
/// matrix.
struct Block {
  int64_t rows = 1, cols = 32;
  bool operator==(const Block&) const = default;
};

/// One array of parameters: scales, or (offset = true) what is subtracted from the code or added to the value. A scale
/// in U8 or I8 is a multiple of the next coarser scale, and so is an offset in U8 below an offset in F16.
struct Level {
  Block block;
  Dtype stored = Dtype::f16;
  bool offset = false;
  uint8_t lowest = 0;  // of an offset in U8: the smallest that may be stored
  int bits = 0;        // of U8 and I8: how many of them the file has room for; 0 for all
  bool operator==(const Level&) const = default;
};

/// Levels go from coarse to fine; at each extent a scale level comes before its offset level.
struct Scheme {
  std::string grid = "int";
  int bits = 4;
  int codeword = 1;  // neighbouring weights that are chosen together, since only some combinations can be stored
  std::vector<Level> levels;
  bool operator==(const Scheme&) const = default;
};

/// Symmetric integers: value = scale * (code - 2^(bits-1)), one scale per `group` weights of a row (0: one per row).
Scheme symmetric_int(int bits, int64_t group, Dtype scale);
/// Asymmetric integers: value = scale * (code - zero), with zero in lowest ... 2^bits-1 stored as U8 beside each scale.
Scheme asymmetric_int(int bits, int64_t group, Dtype scale, uint8_t lowest = 0);

/// Scales in two levels, as the K types of GGUF have them: value = d s code - dmin m, with a scale s and an offset m of
/// `sub_bits` each per `sub` weights of a row, and d and dmin in F16 per 256.
Scheme two_level_affine(int bits, int64_t sub, int sub_bits);
/// The same without offsets: value = d s (code - 2^(bits-1)), or d s number[code] where the grid lists numbers; s is in
/// I8.
Scheme two_level_symmetric(int bits, int64_t sub, int sub_bits, std::string_view grid = "kquant");

/// value = scale * code + offset, both for `group` weights of a row and in the same type.
Scheme affine(int bits, int64_t group, Dtype stored);
/// value = scale * number[code], the numbers being those of `grid`.
Scheme listed(std::string_view grid, int bits, int64_t group, Dtype scale);

/// Numbers of which only some combinations exist (codebook.h): value = d (2 s + 1) unit number[code], with an s of
/// `sub_bits` for `sub` weights and a d in F16 for 256; the grid knows the unit, and whether the top bit of s is a
/// sign.
Scheme codebook_words(std::string_view grid, int bits, int codeword, int64_t sub, int sub_bits = 4);

/// 8-bit floats: value = scale * e4m3(code), one scale per block, such as {0, 0}, {1, 0} or {128, 128}.
Scheme fp8(Block block, Dtype scale);

/// The bits that the file has for each entry of a level.
int stored_bits(const Level&);
/// Whether offsets are added to scale * code, instead of being subtracted from the code.
bool adds_offset(const Scheme&);

/// How many rows are quantized in one piece because they share parameters: 1, the rows of a block, or 0 for all.
int64_t rows_together(const Scheme&);

/// "int4 g32 F16", "int4 asymmetric channel BF16", "fp8 tensor F32", "fp8 128x128 BF16", "kquant4 asymmetric g32 6-bit
/// scales": for people.
std::string describe(const Scheme&);

}  // namespace kerf
