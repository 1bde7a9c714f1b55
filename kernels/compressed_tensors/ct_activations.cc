// The checks stand here because every product asks for the size of its activations first.
#include "kernels/compressed_tensors/ct_activations.h"

#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "kernels/gemm.h"

namespace kerf {
namespace {

bool is_float_type(Dtype t) { return t == Dtype::f32 || t == Dtype::f16 || t == Dtype::bf16; }

}  // namespace

int64_t ct_activation_bytes(const PackedMatrix& w) {
  if (w.bits != 4 && w.bits != 8)
    fail(ErrorKind::unsupported, "pack-quantized weights of {} bits; kernels exist for 4 and 8", w.bits);
  if (w.group <= 0 || w.cols % w.group != 0)
    fail(ErrorKind::unsupported, "groups of {} do not divide rows of {} weights", w.group, w.cols);
  if (!is_float_type(w.scale_dtype) || !is_float_type(w.compute))
    fail(ErrorKind::unsupported, "scales in {} computed in {}; each must be F32, F16 or BF16", name_of(w.scale_dtype),
         name_of(w.compute));
  return checked_mul<int64_t>(w.cols, sizeof(float), "activations");
}

void ct_activation_values(const PackedMatrix& w, const std::byte* row, float* out) {
  std::memcpy(out, row, static_cast<size_t>(w.cols) * sizeof(float));
}

}  // namespace kerf
