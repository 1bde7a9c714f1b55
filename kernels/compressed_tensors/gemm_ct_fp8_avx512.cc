#include "kernels/compressed_tensors/w8_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_ct_fp8_avx512() {
  static constexpr PackedGemm gemm = w8_gemm<Fp8Avx512, ActivationRule::package>("ct-fp8");
  return gemm;
}

}  // namespace kerf
