#include "kernels/q8_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_q8_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm_avx512<Q8_0Block>("Q8_0");
  return gemm;
}

}  // namespace kerf
