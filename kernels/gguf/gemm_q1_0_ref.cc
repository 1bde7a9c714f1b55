// Q1_0: 18 bytes per 128 weights, F16 scale d, then bits in order; a weight is d where its bit is set and -d elsewhere.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q1_0 : Q1_0Type, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) { return 2 * bit_at(block + 2, k) - 1; }
};

}  // namespace

const PackedGemm& gemm_q1_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q1_0>("Q1_0");
  return gemm;
}

}  // namespace kerf
