#include "kernels/gguf/gguf_rare_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q1_0_avx2() {
  static constexpr PackedGemm gemm =
      q8_gemm<Q1_0Block, RareLanesAvx2<Q1_0Block, NestedSums<Q1_0Block>>::multiply>("Q1_0", Isa::avx2);
  return gemm;
}

}  // namespace kerf
