// Q3_K on AVX-512 VNNI: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_q3_k_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<Q3_KBlock, Q8KAvx512>("Q3_K");
  return gemm;
}

}  // namespace kerf
