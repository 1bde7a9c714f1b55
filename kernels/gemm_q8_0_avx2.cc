#include "kernels/q8_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_q8_0_avx2() {
  static constexpr PackedGemm gemm = q8_gemm_avx2<Q8_0Block>("Q8_0");
  return gemm;
}

}  // namespace kerf
