// How the block types of GGUF spread the bits of their codes over bytes, so that one shift brings many weights into
// place. Source: the dequantize_row functions in ggml-quants.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kerf {

/// 32 bytes: weight i has bit i / 32 of byte i % 32. It is bit `kBit` of the code.
template <int kBit>
void pack_ones(const uint8_t* codes, std::byte* out) {
  for (int l = 0; l < 32; ++l) {
    int byte = 0;
    for (int k = 0; k < 8; ++k) byte |= (codes[32 * k + l] >> kBit & 1) << k;
    out[l] = static_cast<std::byte>(byte);
  }
}
template <int kBit>
void unpack_ones(const std::byte* in, uint8_t* codes) {
  for (int k = 0; k < 8; ++k)
    for (int l = 0; l < 32; ++l)
      codes[32 * k + l] = static_cast<uint8_t>(codes[32 * k + l] | (std::to_integer<int>(in[l]) >> k & 1) << kBit);
}

/// kWeights bits, weight i at bit i % 8 of byte i / 8. It is bit `kBit` of the code.
template <int kBit, int kWeights>
void pack_bits(const uint8_t* codes, std::byte* out) {
  for (int i = 0; i < kWeights / 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, codes + 8 * i, 8);
    // Bit 8 k times 2^(56 - 7 k) is bit 56 + k; all other products stay below, or pass out above.
    out[i] = static_cast<std::byte>((eight >> kBit & 0x0101010101010101u) * 0x0102040810204080u >> 56);
  }
}
template <int kBit, int kWeights>
void unpack_bits(const std::byte* in, uint8_t* codes) {
  for (int i = 0; i < kWeights; ++i)
    codes[i] = static_cast<uint8_t>(codes[i] | (std::to_integer<int>(in[i / 8]) >> i % 8 & 1) << kBit);
}

/// 64 bytes, 32 for each half of the weights: the k-th 32 of a half stand in bits 2 k and 2 k + 1. They are bits `kBit`
/// and `kBit` + 1 of the code.
template <int kBit>
void pack_twos(const uint8_t* codes, std::byte* out) {
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int k = 0; k < 4; ++k) byte |= (codes[128 * half + 32 * k + l] >> kBit & 3) << 2 * k;
      out[32 * half + l] = static_cast<std::byte>(byte);
    }
}
template <int kBit>
void unpack_twos(const std::byte* in, uint8_t* codes) {
  for (int half = 0; half < 2; ++half)
    for (int k = 0; k < 4; ++k)
      for (int l = 0; l < 32; ++l) {
        uint8_t& code = codes[128 * half + 32 * k + l];
        code = static_cast<uint8_t>(code | (std::to_integer<int>(in[32 * half + l]) >> 2 * k & 3) << kBit);
      }
}

/// Nibbles of the lowest four bits, by pieces of 2 * kRun weights in kRun bytes: low nibbles the first half, high ones
/// the second.
template <int kRun, int kWeights = 256>
void pack_nibbles(const uint8_t* codes, std::byte* out) {
  for (int piece = 0; piece < kWeights / 2 / kRun; ++piece)
    for (int l = 0; l < kRun; ++l) {
      const uint8_t* c = codes + 2 * kRun * piece + l;
      out[kRun * piece + l] = static_cast<std::byte>((c[0] & 15) | (c[kRun] & 15) << 4);
    }
}
template <int kRun, int kWeights = 256>
void unpack_nibbles(const std::byte* in, uint8_t* codes) {
  for (int piece = 0; piece < kWeights / 2 / kRun; ++piece)
    for (int l = 0; l < kRun; ++l) {
      const int byte = std::to_integer<int>(in[kRun * piece + l]);
      codes[2 * kRun * piece + l] = byte & 15;
      codes[2 * kRun * piece + kRun + l] = static_cast<uint8_t>(byte >> 4);
    }
}

/// Eight 6-bit scales and eight 6-bit minima in 12 bytes, in Q4_K and Q5_K: bytes 0-3 hold scales 0-3, bytes 4-7 minima
/// 0-3, bytes 8-11 the low nibbles of scale and minimum 4-7; the upper two bits of the latter stand on top of the first
/// eight.
inline void pack_kscales(const std::byte* scales, const std::byte* mins, std::byte* out) {
  const std::byte low{15};
  for (int i = 0; i < 4; ++i) {
    const std::byte s = scales[i + 4], m = mins[i + 4];
    out[i] = scales[i] | (s >> 4) << 6;
    out[i + 4] = mins[i] | (m >> 4) << 6;
    out[i + 8] = (s & low) | (m & low) << 4;
  }
}
inline void unpack_kscales(const std::byte* in, std::byte* scales, std::byte* mins) {
  const std::byte low{15}, six{63};
  for (int i = 0; i < 4; ++i) {
    scales[i] = in[i] & six;
    mins[i] = in[i + 4] & six;
    scales[i + 4] = (in[i + 8] & low) | (in[i] >> 6) << 4;
    mins[i + 4] = in[i + 8] >> 4 | (in[i + 4] >> 6) << 4;
  }
}

}  // namespace kerf
