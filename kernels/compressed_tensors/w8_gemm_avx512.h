// AVX-512's vectors for w8_gemm_body.h.
#pragma once

#include "kernels/compressed_tensors/w8_gemm_body.h"

namespace kerf {
namespace {

struct W8Avx512 {
  static constexpr Isa kIsa = Isa::avx512;
  static constexpr int64_t kWidth = 16;
  using Vec = __m512;
  using Magnitude = __m512i;

  static Vec splat(float x) { return _mm512_set1_ps(x); }
  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  template <Dtype kCompute>
  static Vec rounded(Vec v) {
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
  template <Dtype kCompute>
  static Vec rounded_input(Vec v) {
    if constexpr (kCompute == Dtype::bf16) {  // a NaN is cut first, so that rounding cannot carry out of its mantissa
      const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
      v = _mm512_mask_mov_ps(v, nan, splat(__builtin_nanf("")));
    }
    return rounded<kCompute>(v);
  }
  static float sum(Vec v) { return _mm512_reduce_add_ps(v); }

  // Magnitudes compare like integers, NaN above infinity.
  static Magnitude no_magnitude() { return _mm512_setzero_si512(); }
  static Magnitude larger(Magnitude m, Vec v) {
    return _mm512_max_epi32(m, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
  }
  static float largest(Magnitude m) { return float_of(static_cast<uint32_t>(_mm512_reduce_max_epi32(m))); }

  static __m128i bytes(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static __m128i bytes(const std::byte* p, int64_t n) { return _mm_maskz_loadu_epi8(first(n), p); }
};

struct Int8Avx512 : W8Avx512 {
  static constexpr float kTop = 127.5f;
  static Vec values(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
  static Vec codes(const std::byte* p) { return values(bytes(p)); }
  static Vec codes(const std::byte* p, int64_t n) { return values(bytes(p, n)); }
  static Vec nearest(Vec x) {
    const Vec clamped = _mm512_min_ps(_mm512_max_ps(x, splat(-128)), splat(127));
    return _mm512_roundscale_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
};

struct Fp8Avx512 : W8Avx512 {
  static constexpr float kTop = 448;

  // e4m3 is a half float whose exponent is 8 too small, subnormals included; the code of a NaN becomes one.
  static Vec values(__m128i bytes) {
    const __m256i wide = _mm256_cvtepu8_epi16(bytes);
    const __m256i magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7f));
    const __m256i shifted = _mm256_mask_mov_epi16(_mm256_slli_epi16(magnitude, 7), nan, _mm256_set1_epi16(0x7e00));
    return _mm512_cvtph_ps(_mm256_or_si256(shifted, sign)) * splat(256);
  }
  static Vec codes(const std::byte* p) { return values(bytes(p)); }
  static Vec codes(const std::byte* p, int64_t n) { return values(bytes(p, n)); }

  // A normal number keeps 3 of 23 mantissa bits; subnormals are multiples of 2^-9, the spacing of float32 from 2^14 on.
  static Vec nearest(Vec x) {
    const Vec sign_bit = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(0x80000000u)));
    const Vec sign = _mm512_and_ps(x, sign_bit);
    const Vec m = _mm512_min_ps(_mm512_andnot_ps(sign_bit, x), splat(kTop));
    const __m512i bits = _mm512_castps_si512(m);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
    const Vec normal = _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(static_cast<int>(0xfff00000u))));
    const Vec subnormal = m + splat(0x1p14f) - splat(0x1p14f);
    const __mmask16 small = _mm512_cmp_ps_mask(m, splat(0x1p-6f), _CMP_LT_OQ);
    return _mm512_or_ps(_mm512_mask_mov_ps(normal, small, subnormal), sign);
  }
};

}  // namespace
}  // namespace kerf
