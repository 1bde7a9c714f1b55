#include "kernels/gguf/gguf_lane_panels_avx512.h"

namespace kerf {

const PackedGemm& gemm_q8_0_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<Q8_0Block, LanePanelsAvx512<Q8_0Block>::multiply>("Q8_0", Isa::avx512);
  return gemm;
}

}  // namespace kerf
