// Q8_0: 34 bytes per 32 weights, F16 scale d, then int8 q; a weight is d * q.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct Q8_0 : Q8_0Type, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) { return static_cast<int8_t>(block[2 + k]); }
};

}  // namespace

const PackedGemm& gemm_q8_0_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<Q8_0>("Q8_0");
  return gemm;
}

}  // namespace kerf
