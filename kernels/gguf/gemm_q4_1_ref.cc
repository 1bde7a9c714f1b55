// Q4_1: 20 bytes per 32 weights, F16 scale d, F16 offset m, then nibbles as in Q4_0; a weight is d * nibble + m.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q4_1 : Q4_1Type, HalfScaleFirst {
  static float offset(const std::byte* block) { return half_at(block + 2); }
  static int code(const std::byte* block, int64_t k) { return nibble_at(block + 4, k); }
};

}  // namespace

const PackedGemm& gemm_q4_1_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q4_1>("Q4_1");
  return gemm;
}

}  // namespace kerf
