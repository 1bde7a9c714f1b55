#include "kernels/gguf/iq_blocks_avx2.h"
#include "kernels/gguf/q8_k_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_iq2_xxs_avx2() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ2_XXSBlock, Q8KAvx2>("IQ2_XXS");
  return gemm;
}

}  // namespace kerf
