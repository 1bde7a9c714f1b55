#include "kernels/gguf/gguf_by_blocks_avx512.h"
#include "kernels/gguf/gguf_rare_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_mxfp4_avx512() {
  static constexpr PackedGemm gemm =
      q8_gemm<MXFP4Block,
              BlocksAvx512<MXFP4Block, RareLanesAvx2<MXFP4Block, PairedSums<MXFP4Block>>::multiply>::multiply>(
          "MXFP4", Isa::avx512);
  return gemm;
}

}  // namespace kerf
