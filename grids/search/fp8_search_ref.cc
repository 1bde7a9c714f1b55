// The fp8 scale search compiled in plain C++.
namespace {
constexpr int kLanes = 4, kTogether = 1;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/search/fp8_search_body.h"

namespace kerf {
const Fp8Search& fp8_search_ref() {
  static constexpr Fp8Search compiled{Isa::ref, search, error, encode};
  return compiled;
}
}  // namespace kerf
