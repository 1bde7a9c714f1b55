// Codes of 2 to 8 bits as one dense stream in 32-bit words, least significant bits first: code i occupies the bits
// [i * bits, (i + 1) * bits) of the stream, and may straddle two words. This is how GPTQ, compressed-tensors and others
// pack; they differ in which way through the matrix the stream runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kerf {

inline int64_t stream_words(int64_t codes, int bits) { return (codes * bits + 31) / 32; }

/// n codes to stream_words(n, bits) words; what is left of the last word is zero.
inline void pack_stream(const uint8_t* codes, int64_t n, int bits, uint32_t* words) {
  uint64_t held = 0;
  int filled = 0;
  for (int64_t i = 0; i < n; ++i) {
    held |= static_cast<uint64_t>(codes[i]) << filled;
    filled += bits;
    if (filled < 32) continue;
    *words++ = static_cast<uint32_t>(held);
    held >>= 32;
    filled -= 32;
  }
  if (filled > 0) *words = static_cast<uint32_t>(held);
}

/// The reverse.
inline void unpack_stream(const uint32_t* words, int64_t n, int bits, uint8_t* codes) {
  const uint64_t mask = (1u << bits) - 1;
  uint64_t held = 0;
  int filled = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (filled < bits) {
      held |= static_cast<uint64_t>(*words++) << filled;
      filled += 32;
    }
    codes[i] = static_cast<uint8_t>(held & mask);
    held >>= bits;
    filled -= bits;
  }
}

/// The same for `lanes` streams that lie side by side, as the columns of a matrix of words: stream l of n codes
/// codes[l * n ...] has its word j at words[j * lanes + l].
void pack_columns(const uint8_t* codes, int64_t lanes, int64_t n, int bits, std::byte* words);
void unpack_columns(const std::byte* words, int64_t lanes, int64_t n, int bits, uint8_t* codes);

/// to[c * rows + r] = from[r * cols + c], elements of `size` bytes.
void transpose_bytes(const std::byte* from, int64_t rows, int64_t cols, size_t size, std::byte* to);

}  // namespace kerf
