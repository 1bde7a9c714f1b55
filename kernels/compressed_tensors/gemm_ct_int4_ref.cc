// compressed-tensors pack-quantized, 4 bits.
#include "kernels/compressed_tensors/ct_gemm_ref.h"

namespace kerf {

const PackedGemm& gemm_ct_int4_ref() {
  static constexpr PackedGemm gemm = ct_gemm_ref<4>("ct-int4");
  return gemm;
}

}  // namespace kerf
