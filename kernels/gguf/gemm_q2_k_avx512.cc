// Q2_K on AVX-512 VNNI: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_q2_k_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<Q2_KBlock, Q8KAvx512>("Q2_K");
  return gemm;
}

}  // namespace kerf
