// AVX-512's vectors for ct_gemm_body.h. The 16 values that a 4-bit code can take in a group fit one vector: they are
// computed and rounded once per group, and each code is looked up in them.
#pragma once

#include "kernels/compressed_tensors/ct_gemm_body.h"

namespace kerf {
namespace {

/// As rounded() of the AVX2 header.
template <Dtype kCompute>
__m512 rounded(__m512 v) {
  if constexpr (kCompute == Dtype::f16) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  } else if constexpr (kCompute == Dtype::bf16) {
    const __m512i bits = _mm512_castps_si512(v);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i half = _mm512_mask_blend_epi32(odd, _mm512_set1_epi32(0x7fff), _mm512_set1_epi32(0x8000));
    const __m512i nearest = _mm512_add_epi32(bits, half);
    return _mm512_castsi512_ps(_mm512_and_si512(nearest, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  } else {
    return v;
  }
}

/// What a group needs in order to dequantize: its scale (8 bits), or all 16 values.
template <int kBits, Dtype kCompute>
__m512 group_vector(float scale) {
  const __m512 scales = _mm512_set1_ps(scale);
  if constexpr (kBits == 8) return scales;
  const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  return rounded<kCompute>(_mm512_mul_ps(codes, scales));
}

/// The order in which sixteen_weights() yields them: 4-bit ones come 0, 8, 1, 9, ..., because a 64-bit broadcast leaves
/// the two words of codes in alternating lanes.
template <int kBits>
__m512 in_code_order(__m512 v) {
  if constexpr (kBits == 8) return v;
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), v);
}

/// The 16 weights that begin at this byte, in code order.
template <int kBits, Dtype kCompute>
__m512 sixteen_weights(const std::byte* p, __m512 group) {
  if constexpr (kBits == 4) {
    int64_t words;
    __builtin_memcpy(&words, p, 8);
    const __m512i shift = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    const __m512i u = _mm512_srlv_epi32(_mm512_set1_epi64(words), shift);
    return _mm512_permutexvar_ps(u, group);  // reads the lowest 4 bits of u
  } else {
    const __m512i u = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i q = _mm512_sub_epi32(u, _mm512_set1_epi32(kZeroPoint<kBits>));
    return rounded<kCompute>(_mm512_mul_ps(_mm512_cvtepi32_ps(q), group));
  }
}

template <int kBits, Dtype kCompute>
struct CtAvx512 {
  static constexpr int64_t kFewTokens = kBits == 4 ? 4 : 2;
  static constexpr int kRowsAtOnce = 4, kWidth = 16;
  using Vec = __m512;
  using Group = __m512;

  static Group group(float scale) { return group_vector<kBits, kCompute>(scale); }
  static Vec weights(const std::byte* p, Group group) { return sixteen_weights<kBits, kCompute>(p, group); }
  static Vec activations(const float* a) { return in_code_order<kBits>(_mm512_loadu_ps(a)); }
  static void store(const std::byte* p, Group group, float* out) {
    const __m512 values = weights(p, group);
    if constexpr (kBits == 8) {
      _mm512_storeu_ps(out, values);
    } else {
      const __m512i back = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
      _mm512_storeu_ps(out, _mm512_permutexvar_ps(back, values));
    }
  }
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Vec v) { return _mm512_reduce_add_ps(v); }
};

}  // namespace
}  // namespace kerf
