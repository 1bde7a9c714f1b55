#include "kernels/gguf/gguf_lane_panels_avx512.h"

namespace kerf {

const PackedGemm& gemm_q4_1_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q4_1Block, LanePanelsAvx512<Q4_1Block>::multiply>("Q4_1", Isa::avx512);
  return gemm;
}

}  // namespace kerf
