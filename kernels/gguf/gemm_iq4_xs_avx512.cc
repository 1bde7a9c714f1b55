// IQ4_XS on AVX-512 VNNI: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_iq4_xs_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ4_XSBlock, Q8KAvx512>("IQ4_XS");
  return gemm;
}

}  // namespace kerf
