#include "kernels/gguf/iq_blocks_avx2.h"
#include "kernels/gguf/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_iq1_m_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ1_MBlock, Q8KAvx2>("IQ1_M");
  return gemm;
}

}  // namespace kerf
