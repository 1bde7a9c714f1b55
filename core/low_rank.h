// A matrix as the product of two narrow ones.
#pragma once

#include <cstdint>
#include <vector>

namespace kerf {

/// B A, with B [out, rank] and A [rank, in], row-major.
struct LowRank {
  int64_t out = 0, in = 0, rank = 0;
  std::vector<float> b, a;
};

}  // namespace kerf
