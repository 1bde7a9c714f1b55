// What the layouts of GGUF's IQ types with codebooks share: entries of a codebook, and signs apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "grids/search/codebook.h"

namespace kerf {

/// Bit j is set where code j of eight is negative.
inline unsigned signs_of(const Codebook& book, const uint8_t* codes) {
  unsigned signs = 0;
  for (unsigned j = 0; j < 8; ++j) signs |= (codes[j] & book.flag ? 1u : 0u) << j;
  return signs;
}
/// The codes of an entry, all positive; and the signs of eight.
inline void put_entry(const Codebook& book, unsigned entry, uint8_t* codes) {
  std::memcpy(codes, book.rank.data() + entry * static_cast<unsigned>(book.weights), static_cast<size_t>(book.weights));
}
inline void put_signs(const Codebook& book, unsigned signs, uint8_t* codes) {
  for (unsigned j = 0; j < 8; ++j) codes[j] = static_cast<uint8_t>(codes[j] | (signs >> j & 1 ? book.flag : 0));
}

/// Scales of 4 bits, the first one in the low nibble.
inline void pack_scales(const std::byte* scales, int count, std::byte* out) {
  for (int i = 0; i < count; i += 2) out[i / 2] = scales[i] | scales[i + 1] << 4;
}
inline void unpack_scales(const std::byte* in, int count, std::byte* scales) {
  for (int i = 0; i < count; i += 2) {
    scales[i] = in[i / 2] & std::byte{15};
    scales[i + 1] = in[i / 2] >> 4;
  }
}

/// 32 bits: seven signs of each of four groups of eight weights, the eighth being even_signs(), and a scale on top.
inline void pack_signs_and_scale(const Codebook& book, const uint8_t* codes, std::byte scale, std::byte* out) {
  uint32_t bits = std::to_integer<uint32_t>(scale) << 28;
  for (unsigned k = 0; k < 4; ++k) bits |= (signs_of(book, codes + 8 * k) & 127) << 7 * k;
  std::memcpy(out, &bits, 4);
}
inline std::byte unpack_signs_and_scale(const Codebook& book, const std::byte* in, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, in, 4);
  for (unsigned k = 0; k < 4; ++k) put_signs(book, even_signs(bits >> 7 * k & 127), codes + 8 * k);
  return static_cast<std::byte>(bits >> 28);
}

}  // namespace kerf
