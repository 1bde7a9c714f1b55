#include "kernels/compressed_tensors/ct_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_ct_int8_avx2() {
  static constexpr PackedGemm gemm = CtGemm<CtAvx2, 8>::plugin("ct-int8", Isa::avx2);
  return gemm;
}

}  // namespace kerf
