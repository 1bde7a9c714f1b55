// The fp8 scale search compiled for AVX2.
namespace {
constexpr int kLanes = 8, kTogether = 2;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/search/fp8_search_body.h"

namespace kerf {
const Fp8Search& fp8_search_avx2() {
  static constexpr Fp8Search compiled{Isa::avx2, search, error, encode};
  return compiled;
}
}  // namespace kerf
