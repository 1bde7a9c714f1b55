// AVX2's vectors for w8_gemm_body.h.
#pragma once

#include "kernels/compressed_tensors/w8_gemm_body.h"

namespace kerf {
namespace {

struct W8Avx2 {
  static constexpr Isa kIsa = Isa::avx2;
  static constexpr int64_t kWidth = 8;
  using Vec = __m256;
  using Magnitude = __m256i;

  static Vec splat(float x) { return _mm256_set1_ps(x); }
  static __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, Vec v, int64_t n) {
    if (n == kWidth)
      _mm256_storeu_ps(p, v);
    else
      _mm256_maskstore_ps(p, first(n), v);
  }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  template <Dtype kCompute>
  static Vec rounded(Vec v) {
    return kerf::rounded<kCompute>(v);
  }
  template <Dtype kCompute>
  static Vec rounded_input(Vec v) {
    return kerf::rounded<kCompute>(kCompute == Dtype::bf16 ? with_short_nans(v) : v);
  }

  static float sum(Vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  // Magnitudes compare like integers, NaN above infinity.
  static Magnitude no_magnitude() { return _mm256_setzero_si256(); }
  static Magnitude larger(Magnitude m, Vec v) {
    return _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)));
  }
  static float largest(Magnitude m) {
    __m128i s = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return float_of(static_cast<uint32_t>(_mm_cvtsi128_si32(s)));
  }

  static __m128i eight_bytes(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i eight_bytes(const std::byte* p, int64_t n) {
    int64_t bytes = 0;
    __builtin_memcpy(&bytes, p, static_cast<uint64_t>(n));
    return _mm_cvtsi64_si128(bytes);
  }
};

struct Int8Avx2 : W8Avx2 {
  static constexpr float kTop = 127.5f;
  static Vec values(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }
  static Vec codes(const std::byte* p) { return values(eight_bytes(p)); }
  static Vec codes(const std::byte* p, int64_t n) { return values(eight_bytes(p, n)); }
  static Vec nearest(Vec x) {
    const Vec clamped = _mm256_min_ps(_mm256_max_ps(x, splat(-128)), splat(127));
    return _mm256_round_ps(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
};

struct Fp8Avx2 : W8Avx2 {
  static constexpr float kTop = 448;

  // e4m3 is a half float whose exponent is 8 too small, subnormals included; the code of a NaN becomes one.
  static Vec values(__m128i bytes) {
    const __m128i wide = _mm_cvtepu8_epi16(bytes);
    const __m128i magnitude = _mm_and_si128(wide, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x80)), 8);
    const __m128i nan = _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7e00));
    const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), nan), sign);
    return _mm256_cvtph_ps(half) * splat(256);
  }
  static Vec codes(const std::byte* p) { return values(eight_bytes(p)); }
  static Vec codes(const std::byte* p, int64_t n) { return values(eight_bytes(p, n)); }

  // A normal number keeps 3 of 23 mantissa bits; subnormals are multiples of 2^-9, the spacing of float32 from 2^14 on.
  static Vec nearest(Vec x) {
    const Vec sign_bit = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0x80000000u)));
    const Vec sign = _mm256_and_ps(x, sign_bit);
    const Vec m = _mm256_min_ps(_mm256_andnot_ps(sign_bit, x), splat(kTop));
    const __m256i bits = _mm256_castps_si256(m);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff)));
    const Vec normal = _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(static_cast<int>(0xfff00000u))));
    const Vec subnormal = m + splat(0x1p14f) - splat(0x1p14f);
    const Vec small = _mm256_cmp_ps(m, splat(0x1p-6f), _CMP_LT_OQ);
    return _mm256_or_ps(_mm256_blendv_ps(normal, subnormal, small), sign);
  }
};

}  // namespace
}  // namespace kerf
