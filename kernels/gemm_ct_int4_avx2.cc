#include "kernels/ct_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_ct_int4_avx2() {
  static constexpr PackedGemm gemm = ct_gemm_avx2<4>("ct-int4");
  return gemm;
}

}  // namespace kerf
