#include "kernels/gguf/gguf_rare_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q2_0_avx2() {
  static constexpr PackedGemm gemm =
      q8_gemm<Q2_0Block, RareLanesAvx2<Q2_0Block, NestedBlockSums<Q2_0Block>>::multiply>("Q2_0", Isa::avx2);
  return gemm;
}

}  // namespace kerf
