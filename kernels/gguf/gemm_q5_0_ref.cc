// Q5_0: 22 bytes per 32 weights, F16 scale d, 32 bits of which bit k is the fifth of weight k, then nibbles as in Q4_0;
// a weight is d * (5 bits - 16).
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q5_0 : Q5_0Type, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) {
    return (nibble_at(block + 6, k) | bit_at(block + 2, k) << 4) - kZeroPoint;
  }
};

}  // namespace

const PackedGemm& gemm_q5_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q5_0>("Q5_0");
  return gemm;
}

}  // namespace kerf
