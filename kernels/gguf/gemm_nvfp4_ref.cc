// NVFP4: 36 bytes per 64 weights, four e4m3 scales without sign, each for 16 weights, then nibbles that hold e2m1
// numbers: of each 16 weights the first 8 low and the last 8 high in 8 bytes. A weight is scale times number; codes are
// doubled to be integers, and scales halved. llama.cpp ignores the sign bit of a scale and reads the code of NaN
// without it as 0, with it as 480. A scale of the whole tensor is a tensor of its own and comes after the product
// (verify/artifact_gguf.cc).
#include "kernels/gguf/q8_gemm_ref.h"

namespace kerf {
namespace {

struct NVFP4 : NVFP4Type {
  static float scale(const std::byte* block, int64_t k) {
    const int bits = std::to_integer<int>(block[k / 16]), exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0.0f;
    return exponent ? std::ldexp(static_cast<float>(8 + mantissa), exponent - 11)
                    : std::ldexp(static_cast<float>(mantissa), -10);
  }
  static int code(const std::byte* block, int64_t k) {
    const int byte = std::to_integer<int>(block[4 + k / 16 * 8 + k % 8]);
    return kFp4Values[k % 16 < 8 ? byte & 15 : byte >> 4];
  }
};

}  // namespace

const PackedGemm& gemm_nvfp4_ref() {
  static constexpr PackedGemm gemm = q8_gemm_ref<NVFP4>("NVFP4");
  return gemm;
}

}  // namespace kerf
