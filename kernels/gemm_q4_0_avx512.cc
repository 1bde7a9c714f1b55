#include "kernels/q8_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_q4_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm_avx512<Q4_0Block>("Q4_0");
  return gemm;
}

}  // namespace kerf
