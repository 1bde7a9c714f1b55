#include "kernels/gguf/gguf_rare_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_nvfp4_avx2() {
  static constexpr PackedGemm gemm =
      q8_gemm<NVFP4Block, RareLanesAvx2<NVFP4Block, HalvedSums<NVFP4Block>>::multiply>("NVFP4", Isa::avx2);
  return gemm;
}

}  // namespace kerf
