#include "kernels/ct_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_ct_int4_avx512() {
  static constexpr PackedGemm gemm = ct_gemm_avx512<4>("ct-int4");
  return gemm;
}

}  // namespace kerf
