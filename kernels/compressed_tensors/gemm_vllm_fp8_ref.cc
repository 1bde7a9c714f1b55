// compressed-tensors float-quantized as vLLM's kernels compute it.
#include "kernels/compressed_tensors/w8_gemm_ref.h"

namespace kerf {

const PackedGemm& gemm_vllm_fp8_ref() {
  static constexpr PackedGemm gemm = w8_gemm_ref<Fp8Ref, ActivationRule::vllm>("vllm-fp8");
  return gemm;
}

}  // namespace kerf
