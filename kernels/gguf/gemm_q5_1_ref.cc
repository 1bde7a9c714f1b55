// Q5_1: 24 bytes per 32 weights, F16 scale d, F16 offset m, then fifth bits and nibbles as in Q5_0; a weight is
// d * (5 bits) + m.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q5_1 : Q5_1Type, HalfScaleFirst {
  static float offset(const std::byte* block) { return half_at(block + 2); }
  static int code(const std::byte* block, int64_t k) { return nibble_at(block + 8, k) | bit_at(block + 4, k) << 4; }
};

}  // namespace

const PackedGemm& gemm_q5_1_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q5_1>("Q5_1");
  return gemm;
}

}  // namespace kerf
