#include "kernels/compressed_tensors/ct_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_ct_int8_avx512() {
  static constexpr PackedGemm gemm = CtGemm<CtAvx512, 8>::plugin("ct-int8", Isa::avx512);
  return gemm;
}

}  // namespace kerf
