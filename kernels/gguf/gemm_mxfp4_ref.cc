// MXFP4: 17 bytes per 32 weights, an e8m0 exponent e, then nibbles as in Q4_0 that hold e2m1 numbers; a weight is 2^(e
// - 127) times one of them. Codes are doubled to be integers, and scales halved. llama.cpp reads e = 255, NaN in OCP's
// format, as 2^128.
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct MXFP4 : MXFP4Type {
  static float scale(const std::byte* block, int64_t) { return std::ldexp(1.0f, std::to_integer<int>(block[0]) - 128); }
  static int code(const std::byte* block, int64_t k) { return kFp4Values[nibble_at(block + 1, k)]; }
};

}  // namespace

const PackedGemm& gemm_mxfp4_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<MXFP4>("MXFP4");
  return gemm;
}

}  // namespace kerf
