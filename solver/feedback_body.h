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

template <int Columns>
inline __attribute__((always_inline)) void tile_of(float* t, const float* e, int64_t terms, const float* u,
                                                   int64_t u_stride) {
  V sums[Columns][kVectors];
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(&sums[c][v], t + c * kRowsPerPanel + v * kLanes, sizeof(V));
  for (int64_t m = 0; m < terms; ++m) {
    V errors[kVectors];
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(&errors[v], e + m * kRowsPerPanel + v * kLanes, sizeof(V));
    for (int c = 0; c < Columns; ++c)
      for (int v = 0; v < kVectors; ++v) sums[c][v] -= errors[v] * u[m * u_stride + c];
  }
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(t + c * kRowsPerPanel + v * kLanes, &sums[c][v], sizeof(V));
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
