#include "kernels/gguf/gguf_by_blocks_avx512.h"

namespace kerf {

const PackedGemm& gemm_iq4_nl_avx512() {
  static constexpr PackedGemm gemm = q8_gemm<IQ4_NLBlock, BlocksAvx512<IQ4_NLBlock>::multiply>("IQ4_NL", Isa::avx512);
  return gemm;
}

}  // namespace kerf
