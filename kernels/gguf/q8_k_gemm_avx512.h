// AVX-512 VNNI's sums of products for q8_k_gemm_body.h, in vectors of 256 bits: what a lane adds up is then what a lane
// of the definition does.
#pragma once

#include "kernels/gguf/q8_k_gemm_body.h"

namespace kerf {
namespace {

struct Q8KAvx512 {
  static constexpr Isa kIsa = Isa::avx512;
  static constexpr bool kAnyUnsigned = true;  // fours_unsigned takes codes up to 255
  static __m256i scaled(__m256i sums, __m256i pairs, __m256i scales) {
    return _mm256_dpwssd_epi32(sums, pairs, scales);
  }
  static __m256i fours_unsigned(__m256i sums, __m256i u, __m256i a) { return _mm256_dpbusd_epi32(sums, u, a); }
  static __m256i fours_signed(__m256i sums, __m256i q, __m256i a) {
    return fours_unsigned(sums, _mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
  }
};

}  // namespace
}  // namespace kerf
