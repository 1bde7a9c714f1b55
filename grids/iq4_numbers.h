// The numbers of GGUF's IQ4_NL and IQ4_XS, denser around zero than at the ends.
// Source: kvalues_iq4nl in ggml-common.h of llama.cpp.
#pragma once

#include "grids/search/level_table.h"

namespace kerf {

inline LevelTable iq4_numbers() {
  return LevelTable({-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113});
}

}  // namespace kerf
