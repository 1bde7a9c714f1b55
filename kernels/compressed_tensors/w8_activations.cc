// The checks stand here because every product asks for the size of its activations first.
#include "kernels/compressed_tensors/w8_activations.h"

#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

bool is_float_type(Dtype t) { return t == Dtype::f32 || t == Dtype::f16 || t == Dtype::bf16; }

void check(const PackedMatrix& w) {
  if (w.bits != 8 || w.group <= 0 || w.scale_rows <= 0)
    fail(ErrorKind::unsupported, "weights of {} bits in blocks of {} x {}; kernels exist for 8 bits", w.bits,
         w.scale_rows, w.group);
  if (w.activation_group <= 0 || w.cols % w.activation_group != 0)
    fail(ErrorKind::unsupported, "groups of {} activations do not divide rows of {}", w.activation_group, w.cols);
  if (!is_float_type(w.scale_dtype) || !is_float_type(w.compute))
    fail(ErrorKind::unsupported, "scales in {} computed in {}; each must be F32, F16 or BF16", name_of(w.scale_dtype),
         name_of(w.compute));
}

}  // namespace

int64_t w8_activation_bytes(const PackedMatrix& w) {
  check(w);
  return checked_mul<int64_t>(w.cols, sizeof(float), "activations");
}

int64_t w8a8_activation_bytes(const PackedMatrix& w) {
  check(w);
  if (w.group != w.cols || w.activation_group != w.cols)
    fail(ErrorKind::unsupported, "8-bit integers in groups of {} and {} of {} columns; kernels take whole rows",
         w.group, w.activation_group, w.cols);
  // |sum| <= cols * 128 * 127 < 2^31.
  constexpr int64_t kMostCols = 131072;
  if (w.cols > kMostCols)
    fail(ErrorKind::unsupported, "rows of {} weights: 32-bit sums hold at most {}", w.cols, kMostCols);
  return round_up<int64_t>(w.cols, 64) + 8;
}

void w8_activation_values(const PackedMatrix& w, const std::byte* row, float* out) {
  std::memcpy(out, row, static_cast<size_t>(w.cols) * sizeof(float));
}

void w8a8_activation_values(const PackedMatrix& w, const std::byte* row, float* out) {
  float scale;
  std::memcpy(&scale, row + round_up<int64_t>(w.cols, 64), sizeof scale);
  for (int64_t k = 0; k < w.cols; ++k)
    out[k] = scale * static_cast<float>(static_cast<int8_t>(std::to_integer<uint8_t>(row[k])));
}

}  // namespace kerf
