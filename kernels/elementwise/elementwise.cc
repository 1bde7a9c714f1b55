#include "core/cpu.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {

const Elementwise& elementwise() {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return elementwise_avx512();
  if (isa() == Isa::avx2) return elementwise_avx2();
#endif
  return elementwise_ref();
}

Rounding rounding_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return Rounding::none;
    case Dtype::f16:
      return Rounding::f16;
    case Dtype::bf16:
      return Rounding::bf16;
    default:
      fail(ErrorKind::internal, "activations cannot be rounded to {}", name_of(dtype));
  }
}

}  // namespace kerf
