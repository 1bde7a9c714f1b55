// AVX2's sums of products for q8_k_gemm_body.h.
#pragma once

#include "kernels/gguf/q8_k_gemm_body.h"

namespace kerf {
namespace {

struct Q8KAvx2 {
  static constexpr Isa kIsa = Isa::avx2;
  static constexpr bool kAnyUnsigned = false;  // fours_unsigned takes codes up to 255
  static __m256i scaled(__m256i sums, __m256i pairs, __m256i scales) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, scales));
  }
  static __m256i fours_unsigned(__m256i sums, __m256i u, __m256i a) {
    return scaled(sums, _mm256_maddubs_epi16(u, a), _mm256_set1_epi16(1));
  }
  static __m256i fours_signed(__m256i sums, __m256i q, __m256i a) {
    return fours_unsigned(sums, _mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
  }
};

}  // namespace
}  // namespace kerf
