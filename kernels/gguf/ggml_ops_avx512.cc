// ggml_ops_body.h on AVX-512.
#include "kernels/intrinsics.h"

namespace kerf {
namespace {

constexpr int kLanes = 16;
typedef __m512 V;

inline V all(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V subtract(V a, V b) { return _mm512_sub_ps(a, b); }
inline V multiply(V a, V b) { return _mm512_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm512_fmsub_ps(a, b, c); }

inline V rounded_to_half(V v) {
  return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline float sum_by_halves(V v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline V exp_of(V x) {
  const V n = subtract(fma(x, all(0x1.715476p0F), all(0x1.8p23F)), all(0x1.8p23F));
  const V b = _mm512_fnmadd_ps(n, all(0x1.7f7d1cp-20F), _mm512_fnmadd_ps(n, all(0x1.62e4p-1F), x));
  const V u = multiply(b, b);
  const V low = fma(all(0x1.555e66p-3F), b, all(0x1.fffdb6p-2F));
  const V q = fma(fma(all(0x1.0e4020p-7F), b, all(0x1.573e2ep-5F)), u, low);
  const V e = _mm512_scalef_ps(fma(q, u, fma(all(0x1.ffffecp-1F), b, all(1.0F))), n);
  const V above = _mm512_mask_mov_ps(e, _mm512_cmp_ps_mask(n, all(192), _CMP_GT_OQ), all(__builtin_inff()));
  return _mm512_mask_mov_ps(above, _mm512_cmp_ps_mask(n, all(-192), _CMP_LT_OQ), all(0.0F));
}

}  // namespace
}  // namespace kerf

#define KERF_GGML_OPS ggml_ops_avx512
#include "kernels/gguf/ggml_ops_body.h"
