// Q4_K on AVX2: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_q4_k_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<Q4_KBlock, Q8KAvx2>("Q4_K");
  return gemm;
}

}  // namespace kerf
