#include "kernels/gguf/gguf_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q4_1_avx2() {
  static constexpr PackedGemm gemm = q8_gemm<Q4_1Block, LanesAvx2<Q4_1Block>::multiply>("Q4_1", Isa::avx2);
  return gemm;
}

}  // namespace kerf
