#include "kernels/compressed_tensors/w8_gemm_avx512.h"

namespace kerf {

const PackedGemm& gemm_vllm_fp8_avx512() {
  static constexpr PackedGemm gemm = w8_gemm<Fp8Avx512, ActivationRule::vllm>("vllm-fp8");
  return gemm;
}

}  // namespace kerf
