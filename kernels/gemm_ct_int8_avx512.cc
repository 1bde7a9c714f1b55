#include "kernels/ct_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_ct_int8_avx512() {
  static constexpr PackedGemm gemm = ct_gemm_avx512<8>("ct-int8");
  return gemm;
}

}  // namespace kerf
