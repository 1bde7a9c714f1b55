// How Q4_K and Q5_K store eight 6-bit scales and eight 6-bit minima in 12 bytes: bytes 0-3 hold scales 0-3, bytes 4-7
// minima 0-3, bytes 8-11 the low nibbles of scale and minimum 4-7; the upper two bits of the latter stand on top of the
// first eight bytes.
// Source: get_scale_min_k4 in ggml-quants.c.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kerf {

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
