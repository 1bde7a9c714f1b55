// compressed-tensors int-quantized as the compressed-tensors package computes it.
#include "kernels/compressed_tensors/w8_gemm_ref.h"

namespace kerf {

const PackedGemm& gemm_ct_w8a8_ref() {
  static constexpr PackedGemm gemm = w8_gemm_ref<Int8Ref, ActivationRule::package>("ct-w8a8");
  return gemm;
}

}  // namespace kerf
