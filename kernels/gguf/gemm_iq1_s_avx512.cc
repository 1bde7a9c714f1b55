#include "kernels/gguf/iq_blocks_avx2.h"
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_iq1_s_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ1_SBlock, Q8KAvx512>("IQ1_S");
  return gemm;
}

}  // namespace kerf
