#include "kernels/compressed_tensors/w8_gemm_avx2.h"

namespace kerf {

const PackedGemm& gemm_vllm_fp8_avx2() {
  static constexpr PackedGemm gemm = w8_gemm<Fp8Avx2, ActivationRule::vllm>("vllm-fp8");
  return gemm;
}

}  // namespace kerf
