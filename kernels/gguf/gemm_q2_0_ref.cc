// Q2_0: 18 bytes per 64 weights, F16 scale d, then four weights to a byte, lowest bits first; a weight is d * (2 bits -
// 1).
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q2_0 : Q2_0Type, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) {
    return (std::to_integer<int>(block[2 + k / 4]) >> k % 4 * 2 & 3) - 1;
  }
};

}  // namespace

const PackedGemm& gemm_q2_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q2_0>("Q2_0");
  return gemm;
}

}  // namespace kerf
