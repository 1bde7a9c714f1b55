// TQ2_0 on AVX-512 VNNI: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_tq2_0_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<TQ2_0Block, Q8KAvx512>("TQ2_0");
  return gemm;
}

}  // namespace kerf
