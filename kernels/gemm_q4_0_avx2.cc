#include "kernels/q8_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_q4_0_avx2() {
  static constexpr PackedGemm gemm = q8_gemm_avx2<Q4_0Block>("Q4_0");
  return gemm;
}

}  // namespace kerf
