// The codebooks of GGUF's IQ1, IQ2 and IQ3 types: which combinations of eight (IQ1, IQ2) or four (IQ3) neighbouring
// magnitudes exist, numbered as the files number them. They are facts of the formats, chosen once by llama.cpp's
// authors (ggml-common.h: iq1s_grid, iq2xxs_grid, ...).
#pragma once

#include <cstdint>

namespace kerf {

enum class IqCodebook {
  iq1,      // IQ1_S and IQ1_M: 2048 of eight numbers -8, 0, 8 (eight times what llama.cpp calls the grid)
  iq2_xxs,  // 256 of eight numbers 8, 25, 43
  iq2_xs,   // 512
  iq2_s,    // 1024
  iq3_xxs,  // 256 of four numbers 4, 12, 20, 28, 36, 44, 52, 62
  iq3_s,    // 512 of four numbers 1, 3, 5, ..., 15
};

/// Entry i is the i-th combination of eight as signed bytes, the first one lowest.
const uint64_t* iq_eights(IqCodebook);
/// Entry i is the i-th combination of four as signed bytes, the first one lowest.
const uint32_t* iq_fours(IqCodebook);

/// The signs of eight weights from seven stored bits: bit j is set where weight j is negative, and the last one makes
/// the number of negative weights even.
constexpr unsigned even_signs(unsigned seven) {
  unsigned parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  return seven | ((parity ^ parity >> 1) & 1) << 7;
}

}  // namespace kerf
