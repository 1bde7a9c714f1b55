#include "kernels/gguf/gguf_by_blocks_avx512.h"

namespace kerf {

const PackedGemm& gemm_q4_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q4_0Block, BlocksAvx512<Q4_0Block>::multiply>("Q4_0", Isa::avx512);
  return gemm;
}

}  // namespace kerf
