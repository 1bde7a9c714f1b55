// AVX2's vectors for ct_gemm_body.h.
#pragma once

#include "kernels/compressed_tensors/ct_gemm_body.h"

namespace kerf {
namespace {

template <int kBits, Dtype kCompute>
struct CtAvx2 {
  static constexpr int64_t kFewTokens = 3;
  static constexpr int kRowsAtOnce = kBits == 4 ? 2 : 4, kWidth = 8;  // the 16 values of a group are two registers
  using Vec = __m256;
  using Group = GroupAvx2;

  static Group group(float scale) { return group_of<kBits, kCompute>(scale); }
  static Vec weights(const std::byte* p, const Group& group) { return eight_weights<kBits, kCompute>(p, group); }
  static Vec activations(const float* a) { return _mm256_loadu_ps(a); }
  static void store(const std::byte* p, const Group& group, float* out) { _mm256_storeu_ps(out, weights(p, group)); }
  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static float sum(Vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
  }
};

}  // namespace
}  // namespace kerf
