// Included by feedback_<isa>.cc, which defines KERF_FEEDBACK as the name of the plug-in and KERF_FEEDBACK_ISA. Two
// columns of 64 rows at a time stay in registers while the terms pass by.
#include "solver/feedback.h"

namespace kerf {
namespace {

typedef float V __attribute__((vector_size(64)));
constexpr int kVectors = kRowsPerPanel / 16;

template <int Columns>
inline __attribute__((always_inline)) void columns_of(float* t, const float* e, int64_t terms, const float* u,
                                                      int64_t u_stride) {
  V sums[Columns][kVectors];
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(&sums[c][v], t + c * kRowsPerPanel + v * 16, sizeof(V));
  for (int64_t m = 0; m < terms; ++m)
    for (int v = 0; v < kVectors; ++v) {
      V error;
      __builtin_memcpy(&error, e + m * kRowsPerPanel + v * 16, sizeof(V));
      for (int c = 0; c < Columns; ++c) sums[c][v] -= error * u[m * u_stride + c];
    }
  for (int c = 0; c < Columns; ++c)
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(t + c * kRowsPerPanel + v * 16, &sums[c][v], sizeof(V));
}

void subtract(float* t, int64_t columns, const float* e, int64_t terms, const float* u, int64_t u_stride) {
  int64_t k = 0;
  for (; k + 2 <= columns; k += 2) columns_of<2>(t + k * kRowsPerPanel, e, terms, u + k, u_stride);
  if (k < columns) columns_of<1>(t + k * kRowsPerPanel, e, terms, u + k, u_stride);
}

}  // namespace

const Feedback& KERF_FEEDBACK() {
  static constexpr Feedback plugin{.isa = KERF_FEEDBACK_ISA, .subtract = subtract};
  return plugin;
}

}  // namespace kerf
