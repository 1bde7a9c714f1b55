#include "kernels/gguf/gguf_by_blocks_avx2.h"

namespace kerf {

const PackedGemm& gemm_iq4_nl_avx2() {
  static constexpr PackedGemm gemm =
      q8_gemm<IQ4_NLBlock, BlocksAvx2<IQ4_NLBlock, WideProducts>::multiply>("IQ4_NL", Isa::avx2);
  return gemm;
}

}  // namespace kerf
