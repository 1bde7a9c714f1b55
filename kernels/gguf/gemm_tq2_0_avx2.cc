// TQ2_0 on AVX2: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_tq2_0_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<TQ2_0Block, Q8KAvx2>("TQ2_0");
  return gemm;
}

}  // namespace kerf
