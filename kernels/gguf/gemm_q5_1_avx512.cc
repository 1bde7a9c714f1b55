#include "kernels/gguf/gguf_lane_panels_avx512.h"

namespace kerf {

const PackedGemm& gemm_q5_1_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q5_1Block, LanePanelsAvx512<Q5_1Block>::multiply>("Q5_1", Isa::avx512);
  return gemm;
}

}  // namespace kerf
