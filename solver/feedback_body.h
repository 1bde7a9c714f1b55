// Included by feedback_<isa>.cc, which defines KERF_FEEDBACK as the name of the plug-in and KERF_FEEDBACK_ISA. Tiles of
// some rows and columns stay in registers while the terms pass by.
#include "solver/feedback.h"

namespace kerf {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kVectors = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kVectors = 2;
#else
constexpr int kLanes = 4, kVectors = 2;
#endif
constexpr int kColumns = 4;
constexpr int kRows = kVectors * kLanes;  // of a tile
static_assert(kRowsPerPanel % kRows == 0);
typedef float V __attribute__((vector_size(kLanes * sizeof(float))));

// As values, not into arrays: those would be filled in pieces narrower than a vector, which the loads that follow would
// have to wait for.
inline V loaded(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store(V v, float* p) { __builtin_memcpy(p, &v, sizeof v); }

template <int Columns>
inline __attribute__((always_inline)) void tile_of(float* t, const float* e, int64_t terms, const float* u,
                                                   int64_t u_stride) {
  V sums[Columns][kVectors];
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) sums[c][v] = loaded(t + c * kRowsPerPanel + v * kLanes);
  for (int64_t m = 0; m < terms; ++m) {
    V errors[kVectors];
    for (int v = 0; v < kVectors; ++v) errors[v] = loaded(e + m * kRowsPerPanel + v * kLanes);
    for (int c = 0; c < Columns; ++c)
      for (int v = 0; v < kVectors; ++v) sums[c][v] -= errors[v] * u[m * u_stride + c];
  }
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) store(sums[c][v], t + c * kRowsPerPanel + v * kLanes);
}

template <int Columns>
void columns_of(float* t, const float* e, int64_t terms, const float* u, int64_t u_stride) {
  for (int64_t row = 0; row < kRowsPerPanel; row += kRows) tile_of<Columns>(t + row, e + row, terms, u, u_stride);
}

void subtract(float* t, int64_t columns, const float* e, int64_t terms, const float* u, int64_t u_stride) {
  int64_t k = 0;
  for (; k + kColumns <= columns; k += kColumns) columns_of<kColumns>(t + k * kRowsPerPanel, e, terms, u + k, u_stride);
  for (; k + 2 <= columns; k += 2) columns_of<2>(t + k * kRowsPerPanel, e, terms, u + k, u_stride);
  if (k < columns) columns_of<1>(t + k * kRowsPerPanel, e, terms, u + k, u_stride);
}

}  // namespace

const Feedback& KERF_FEEDBACK() {
  static constexpr Feedback plugin{.isa = KERF_FEEDBACK_ISA, .subtract = subtract};
  return plugin;
}

}  // namespace kerf
