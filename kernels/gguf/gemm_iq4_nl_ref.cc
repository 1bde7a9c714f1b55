// IQ4_NL: 18 bytes per 32 weights, F16 scale d, then nibbles as in Q4_0 that number 16 unevenly spaced integers; a
// weight is d times one of them.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct IQ4_NL : IQ4_NLType, HalfScaleFirst {
  static int code(const std::byte* block, int64_t k) { return kIq4Values[nibble_at(block + 2, k)]; }
};

}  // namespace

const PackedGemm& gemm_iq4_nl_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<IQ4_NL>("IQ4_NL");
  return gemm;
}

}  // namespace kerf
