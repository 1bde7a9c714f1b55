#include "kernels/gguf/iq_blocks_avx2.h"
#include "kernels/gguf/q8_k_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_iq3_xxs_avx512() {
  static constexpr PackedGemm gemm = q8_k_gemm<IQ3_XXSBlock, Q8KAvx512>("IQ3_XXS");
  return gemm;
}

}  // namespace kerf
