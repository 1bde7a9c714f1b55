// The integer fitter compiled in plain C++. Where the processor has no fused multiply-add, the C library computes it.
namespace {
constexpr int kLanes = 4;
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
inline Vec fma_of(Vec a, Vec b, Vec c) {
  Vec r{};
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return r;
}
inline void transpose(const float* from, long stride, Vec* to) {
  for (int l = 0; l < kLanes; ++l)
    for (int j = 0; j < kLanes; ++j) to[j][l] = from[l * stride + j];
}
}  // namespace

#include "grids/fitter_int_body.h"

namespace kerf {
const Fitter& fitter_int_ref() {
  static constexpr Fitter fitter{Isa::ref, search, encode};
  return fitter;
}
}  // namespace kerf
