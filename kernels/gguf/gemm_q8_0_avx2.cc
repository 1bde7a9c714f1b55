#include "kernels/gguf/gguf_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q8_0_avx2() {
  static constexpr PackedGemm gemm = q8_gemm<Q8_0Block, LanesAvx2<Q8_0Block>::multiply>("Q8_0", Isa::avx2);
  return gemm;
}

}  // namespace kerf
