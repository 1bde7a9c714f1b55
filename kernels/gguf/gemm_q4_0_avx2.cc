#include "kernels/gguf/gguf_by_blocks_avx2.h"

namespace kerf {

const PackedGemm& gemm_q4_0_avx2() {
  static constexpr PackedGemm gemm =
      q8_gemm<Q4_0Block, BlocksAvx2<Q4_0Block, NibbleProducts>::multiply>("Q4_0", Isa::avx2);
  return gemm;
}

}  // namespace kerf
