#include "kernels/iq_blocks_avx2.h"
#include "kernels/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_iq3_s_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ3_SBlock, Q8KAvx2>("IQ3_S");
  return gemm;
}

}  // namespace kerf
