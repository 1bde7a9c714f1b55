#include "kernels/gguf/gguf_lane_panels_avx512.h"

namespace kerf {

const PackedGemm& gemm_q5_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q5_0Block, LanePanelsAvx512<Q5_0Block>::multiply>("Q5_0", Isa::avx512);
  return gemm;
}

}  // namespace kerf
