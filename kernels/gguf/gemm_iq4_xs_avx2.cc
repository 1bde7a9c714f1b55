// IQ4_XS on AVX2: q8_k_gemm_body.h.
#include "kernels/gguf/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_iq4_xs_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ4_XSBlock, Q8KAvx2>("IQ4_XS");
  return gemm;
}

}  // namespace kerf
