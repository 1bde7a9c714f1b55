#include "kernels/gguf/gguf_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q5_1_avx2() {
  static constexpr PackedGemm gemm = q8_gemm<Q5_1Block, LanesAvx2<Q5_1Block>::multiply>("Q5_1", Isa::avx2);
  return gemm;
}

}  // namespace kerf
