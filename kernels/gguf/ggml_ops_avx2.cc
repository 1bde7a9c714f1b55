// ggml_ops_body.h on AVX2.
#include "kernels/intrinsics.h"

namespace kerf {
namespace {

constexpr int kLanes = 8;
typedef __m256 V;

inline V all(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V subtract(V a, V b) { return _mm256_sub_ps(a, b); }
inline V multiply(V a, V b) { return _mm256_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm256_fmsub_ps(a, b, c); }

inline V rounded_to_half(V v) { return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }

inline float sum_by_halves(V v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// 2^n for whole n from -126 to 127.
inline V power_of_two(V n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

inline V exp_of(V x) {
  const V n = subtract(fma(x, all(0x1.715476p0F), all(0x1.8p23F)), all(0x1.8p23F));
  const V b = _mm256_fnmadd_ps(n, all(0x1.7f7d1cp-20F), _mm256_fnmadd_ps(n, all(0x1.62e4p-1F), x));
  const V u = multiply(b, b);
  const V low = fma(all(0x1.555e66p-3F), b, all(0x1.fffdb6p-2F));
  const V q = fma(fma(all(0x1.0e4020p-7F), b, all(0x1.573e2ep-5F)), u, low);
  const V j = fma(q, u, multiply(all(0x1.ffffecp-1F), b));
  const V size = _mm256_andnot_ps(all(-0.0F), n), far = _mm256_cmp_ps(size, all(126), _CMP_GT_OQ);
  if (!_mm256_movemask_ps(far)) {
    const V k = power_of_two(n);
    return fma(j, k, k);
  }
  // The outer factor is 1 near zero, and 2^-125 or 2^127 far from it.
  const V negative = _mm256_cmp_ps(n, all(0.0F), _CMP_LE_OQ);
  const V outer = _mm256_and_ps(far, _mm256_blendv_ps(all(127), all(-125), negative));
  const V inner = power_of_two(subtract(n, outer));
  const V e = multiply(fma(j, inner, inner), power_of_two(outer));
  const V end = _mm256_blendv_ps(all(__builtin_inff()), all(0.0F), negative);
  return _mm256_blendv_ps(e, end, _mm256_cmp_ps(size, all(192), _CMP_GT_OQ));
}

}  // namespace
}  // namespace kerf

#define KERF_GGML_OPS ggml_ops_avx2
#include "kernels/gguf/ggml_ops_body.h"
