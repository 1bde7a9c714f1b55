#include "kernels/gguf/gguf_lane_panels_avx2.h"

namespace kerf {

const PackedGemm& gemm_q5_0_avx2() {
  static constexpr PackedGemm gemm = q8_gemm<Q5_0Block, LanePanelsAvx2<Q5_0Block>::multiply>("Q5_0", Isa::avx2);
  return gemm;
}

}  // namespace kerf
