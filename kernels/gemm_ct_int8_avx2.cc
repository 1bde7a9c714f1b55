#include "kernels/ct_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_ct_int8_avx2() {
  static constexpr PackedGemm gemm = ct_gemm_avx2<8>("ct-int8");
  return gemm;
}

}  // namespace kerf
