#include "kernels/compressed_tensors/w8_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_ct_w8a8_avx2() {
  static constexpr PackedGemm gemm = w8_gemm<Int8Avx2, ActivationRule::package>("ct-w8a8");
  return gemm;
}

}  // namespace kerf
