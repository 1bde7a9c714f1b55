// Q4_0: 18 bytes per 32 weights, F16 scale d, then nibbles: byte j holds weight j low and weight j + 16 high; a weight
// is d * (nibble - 8).
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q4_0 : Q4_0Type, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) { return nibble_at(block + 2, k) - kZeroPoint; }
};

}  // namespace

const PackedGemm& gemm_q4_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q4_0>("Q4_0");
  return gemm;
}

}  // namespace kerf
