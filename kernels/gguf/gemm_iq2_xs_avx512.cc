#include "kernels/gguf/iq_blocks_avx2.h"
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_iq2_xs_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ2_XSBlock, Q8KAvx512>("IQ2_XS");
  return gemm;
}

}  // namespace kerf
