// The fp8 scale search compiled for AVX-512.
namespace {
constexpr int kLanes = 16, kTogether = 4;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
}  // namespace

#include "grids/search/fp8_search_body.h"

namespace kerf {
const Fp8Search& fp8_search_avx512() {
  static constexpr Fp8Search compiled{Isa::avx512, search, error, encode};
  return compiled;
}
}  // namespace kerf
