// Reading compressed-tensors codes with AVX2; the AVX-512 kernels use some of this too. For files compiled per
// instruction set only: everything here has internal linkage, so that no other file can end up with this code.
#pragma once

#include "kernels/compressed_tensors/ct_activations.h"
#include "kernels/dense/dense_panel.h"
#include "kernels/gemm.h"
#include "kernels/intrinsics.h"

namespace kerf {
namespace {

inline float float_of(uint32_t bits) {
  float v;
  __builtin_memcpy(&v, &bits, 4);
  return v;
}

/// The scale of a group, for rounded<kCompute>().
template <Dtype kCompute>
float scale_at(const PackedMatrix& w, int64_t row, int64_t group) {
  const std::byte* p = w.scales + row * w.scale_stride;
  uint16_t half;
  uint32_t bits;
  if (w.scale_dtype == Dtype::f32) {
    __builtin_memcpy(&bits, p + group * 4, 4);
  } else {
    __builtin_memcpy(&half, p + group * 2, 2);
    bits = static_cast<uint32_t>(half) << 16;
    if (w.scale_dtype == Dtype::f16) {
      const float scale = _cvtsh_ss(half);
      __builtin_memcpy(&bits, &scale, 4);
    }
  }
  // A NaN is cut to BF16 here already, so that rounding cannot carry out of its mantissa.
  if (kCompute == Dtype::bf16 && (bits & 0x7fffffffu) > 0x7f800000u) bits = (bits | 0x400000u) & 0xffff0000u;
  return float_of(bits);
}

/// round_to(kCompute, v), bit for bit, where the NaNs of v are BF16 values already.
template <Dtype kCompute>
__m256 rounded(__m256 v) {
  if constexpr (kCompute == Dtype::f16) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  } else if constexpr (kCompute == Dtype::bf16) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_castsi256_ps(_mm256_and_si256(nearest, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  } else {
    return v;
  }
}

template <Dtype kCompute>
float rounded_one(float v) {
  return _mm256_cvtss_f32(rounded<kCompute>(_mm256_set1_ps(v)));
}

/// Cuts NaNs as rounded() wants them.
inline __m256 with_short_nans(__m256 v) {
  const __m256i quiet = _mm256_or_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x400000));
  const __m256i cut = _mm256_and_si256(quiet, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  return _mm256_blendv_ps(v, _mm256_castsi256_ps(cut), _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}

template <Dtype kCompute>
void round_activations(const PackedMatrix& w, const float* x, std::byte* out) {
  auto* a = reinterpret_cast<float*>(out);
  const auto round = [](__m256 v) { return rounded<kCompute>(kCompute == Dtype::bf16 ? with_short_nans(v) : v); };
  int64_t k = 0;
  for (; k + 8 <= w.cols; k += 8) _mm256_storeu_ps(a + k, round(_mm256_loadu_ps(x + k)));
  for (; k < w.cols; ++k) a[k] = _mm256_cvtss_f32(round(_mm256_set1_ps(x[k])));
}

template <int kBits>
constexpr int kZeroPoint = 1 << (kBits - 1);

/// Code q of weight k of a row.
template <int kBits>
int code_at(const std::byte* row, int64_t k) {
  const int byte = static_cast<int>(row[k * kBits / 8]);
  return ((byte >> (k * kBits % 8)) & ((1 << kBits) - 1)) - kZeroPoint<kBits>;
}

/// What a group needs in order to dequantize: its scale (8 bits), or the 16 values that a code can stand for, rounded.
struct GroupAvx2 {
  __m256 low, high;
};

template <int kBits, Dtype kCompute>
GroupAvx2 group_of(float scale) {
  const __m256 scales = _mm256_set1_ps(scale);
  if constexpr (kBits == 8) return {scales, scales};
  const auto values = [&](__m256 codes) { return rounded<kCompute>(_mm256_mul_ps(codes, scales)); };
  return {values(_mm256_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1)), values(_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7))};
}

/// The 8 weights that begin at this byte.
template <int kBits, Dtype kCompute>
__m256 eight_weights(const std::byte* p, const GroupAvx2& group) {
  if constexpr (kBits == 4) {
    int32_t word;
    __builtin_memcpy(&word, p, 4);
    const __m256i u = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    // The look-up reads the lowest 3 bits, the choice between the halves bit 3, moved to the sign.
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(group.low, u), _mm256_permutevar8x32_ps(group.high, u),
                            _mm256_castsi256_ps(_mm256_slli_epi32(u, 28)));
  } else {
    const __m256i u = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m256 q = _mm256_cvtepi32_ps(_mm256_sub_epi32(u, _mm256_set1_epi32(kZeroPoint<kBits>)));
    return rounded<kCompute>(_mm256_mul_ps(q, group.low));
  }
}

/// Calls body.template operator()<compute>() for the matrix's compute dtype.
template <class Body>
void with_compute(const PackedMatrix& w, const Body& body) {
  if (w.compute == Dtype::bf16) return body.template operator()<Dtype::bf16>();
  if (w.compute == Dtype::f16) return body.template operator()<Dtype::f16>();
  return body.template operator()<Dtype::f32>();
}

}  // namespace
}  // namespace kerf
