#include "kernels/gguf_lanes_avx2.h"

namespace kerf {

const PackedGemm& gemm_q8_0_avx2() {
  static constexpr PackedGemm gemm = {.format = "Q8_0",
                                      .isa = Isa::avx2,
                                      .activation_bytes = q8_0_activation_bytes,
                                      .round_activations = round_to_q8<Q8_0Block>,
                                      .multiply = LanesAvx2<Q8_0Block>::multiply,
                                      .dequantize = dequantize_blocks<Q8_0Block>,
                                      .activation_values = q8_activation_values};
  return gemm;
}

}  // namespace kerf
