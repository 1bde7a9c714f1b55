// compressed-tensors float-quantized as the compressed-tensors package computes it.
#include "kernels/compressed_tensors/w8_gemm_ref.h"

namespace kerf {

const PackedGemm& gemm_ct_fp8_ref() {
  static constexpr PackedGemm gemm = w8_gemm_ref<Fp8Ref, ActivationRule::package>("ct-fp8");
  return gemm;
}

}  // namespace kerf
