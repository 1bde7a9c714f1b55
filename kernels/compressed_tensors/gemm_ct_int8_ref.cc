// compressed-tensors pack-quantized, 8 bits.
#include "kernels/compressed_tensors/ct_gemm_ref.h"

namespace kerf {

const PackedGemm& gemm_ct_int8_ref() {
  static constexpr PackedGemm gemm = ct_gemm_ref<8>("ct-int8");
  return gemm;
}

}  // namespace kerf
