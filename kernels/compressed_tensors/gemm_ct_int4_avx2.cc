#include "kernels/compressed_tensors/ct_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_ct_int4_avx2() {
  static constexpr PackedGemm gemm = CtGemm<CtAvx2, 4>::plugin("ct-int4", Isa::avx2);
  return gemm;
}

}  // namespace kerf
