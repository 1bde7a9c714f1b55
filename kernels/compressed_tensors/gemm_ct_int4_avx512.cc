#include "kernels/compressed_tensors/ct_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_ct_int4_avx512() {
  static constexpr PackedGemm gemm = CtGemm<CtAvx512, 4>::plugin("ct-int4", Isa::avx512);
  return gemm;
}

}  // namespace kerf
