// Reading GGUF blocks and rounding activations with AVX2; the AVX-512 kernels use these too. For files compiled per
// instruction set only: everything here has internal linkage, so that no other file can end up with this code.
#pragma once

#include "kernels/gemm.h"
#include "kernels/intrinsics.h"
#include "kernels/q8_activations.h"

namespace kerf {
namespace {

/// The packed block formats, seen as unsigned codes u = q + kZeroPoint after an F16 scale.
struct Q8_0Block {
  static constexpr int64_t kBytes = 34;
  static constexpr int kZeroPoint = 128, kCorrections = 8;
  static __m256i unsigned_codes(const std::byte* block) {
    const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 2));
    return _mm256_xor_si256(q, _mm256_set1_epi8(-128));
  }
  static __m256i signed_codes(const std::byte* block) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 2));
  }
};

struct Q4_0Block {
  static constexpr int64_t kBytes = 18;
  static constexpr int kZeroPoint = 8, kCorrections = 1;
  static __m256i unsigned_codes(const std::byte* block) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 2));
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(low, 4), low);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
  }
  static __m256i signed_codes(const std::byte* block) {
    return _mm256_sub_epi8(unsigned_codes(block), _mm256_set1_epi8(kZeroPoint));
  }
};

inline uint16_t scale_bits(const std::byte* block) {
  uint16_t half;
  __builtin_memcpy(&half, block, 2);
  return half;
}

inline float block_scale(const std::byte* block) { return _cvtsh_ss(scale_bits(block)); }

/// Rows of rounded activations, `bytes` apart (the layout is q8_activations.h's).
struct Q8Activations {
  const std::byte* rows;
  int64_t bytes, cols;

  const std::byte* codes(int64_t t) const { return rows + t * bytes; }
  const float* scales(int64_t t) const { return reinterpret_cast<const float*>(rows + t * bytes + cols); }
  const int32_t* corrections(int64_t t) const {
    return reinterpret_cast<const int32_t*>(rows + t * bytes + cols + cols / kQ8Block * 4);
  }
};

template <class Block>
inline Q8Activations q8_activations(const PackedMatrix& w, const std::byte* activations) {
  return {activations, w.cols + w.cols / kQ8Block * (4 + Block::kCorrections * 4), w.cols};
}

inline uint32_t largest_of(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
}

inline int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

/// By halves: v[i] + v[i + 4], then + 2, then + 1.
inline float sum_of(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

/// round_to_q8_ref, bit for bit.
template <class Block>
void round_to_q8(const PackedMatrix& w, const float* x, std::byte* out) {
  const int64_t blocks = w.cols / kQ8Block;
  auto* scales = reinterpret_cast<float*>(out + w.cols);
  auto* corrections = reinterpret_cast<int32_t*>(out + w.cols + blocks * 4);
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes the lane-wise packing below
  for (int64_t b = 0; b < blocks; ++b) {
    __m256 v[4];
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + b * kQ8Block + i * 8);
      largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    const uint32_t amax_bits = largest_of(largest);
    float amax;
    __builtin_memcpy(&amax, &amax_bits, 4);
    scales[b] = _cvtsh_ss(_cvtss_sh(amax / 127.0f, _MM_FROUND_TO_NEAREST_INT));
    const __m256 inverse = _mm256_set1_ps(amax != 0.0f ? 127.0f / amax : 0.0f);
    __m256i q[4];
    for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i packed = _mm256_permutevar8x32_epi32(
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])), in_order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + b * kQ8Block), packed);
    // Sums of signed bytes, in fours: 1 x each, widened.
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), packed);
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    if constexpr (Block::kCorrections == 8) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(corrections + b * 8),
                          _mm256_mullo_epi32(sums, _mm256_set1_epi32(-Block::kZeroPoint)));
    } else {
      corrections[b] = -Block::kZeroPoint * sum_of(sums);
    }
  }
}

template <class Block>
void dequantize_blocks(const PackedMatrix& w, int64_t row, float* out) {
  for (int64_t b = 0; b < w.cols / kQ8Block; ++b) {
    const std::byte* block = w.codes + row * w.code_stride + b * Block::kBytes;
    const __m256 scale = _mm256_set1_ps(block_scale(block));
    alignas(32) uint8_t codes[kQ8Block];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes), Block::unsigned_codes(block));
    for (int i = 0; i < 4; ++i) {
      const __m256i u = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i * 8)));
      const __m256 q = _mm256_cvtepi32_ps(_mm256_sub_epi32(u, _mm256_set1_epi32(Block::kZeroPoint)));
      _mm256_storeu_ps(out + b * kQ8Block + i * 8, _mm256_mul_ps(q, scale));
    }
  }
}

/// v[i] as a row of 8 words becomes v[j] as a column.
inline void transpose8(__m256i v[8]) {
  __m256i t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  __m256i s[8];
  for (int i = 0; i < 8; i += 4) {
    s[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    s[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    s[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    s[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(s[i], s[i + 4], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(s[i], s[i + 4], 0x31);
  }
}

}  // namespace
}  // namespace kerf
