// Rounding to Q8_K (q8_k_activations.h) with AVX2; the AVX-512 kernels use it too. For files compiled per instruction
// set only: everything here has internal linkage, so that no other file can end up with this code.
#pragma once

#include "kernels/gguf/gguf_blocks_avx2.h"
#include "kernels/gguf/q8_k_activations.h"

namespace kerf {
namespace {

/// Rows of rounded activations, `bytes` apart.
struct Q8KActivations {
  const std::byte* rows;
  int64_t bytes, cols;

  Q8KActivations(const PackedMatrix& w, const std::byte* activations)
      : rows(activations), bytes(w.cols + w.cols / kQ8KBlock * 4 + w.cols / kQ8KSum * 2), cols(w.cols) {}

  const std::byte* codes(int64_t t) const { return rows + t * bytes; }
  const float* scales(int64_t t) const { return reinterpret_cast<const float*>(rows + t * bytes + cols); }
  const int16_t* sums(int64_t t) const {
    return reinterpret_cast<const int16_t*>(rows + t * bytes + cols + cols / kQ8KBlock * 4);
  }
};

/// The first of x[256] whose magnitude, as a bit pattern, is the largest.
inline float first_of_largest_magnitude(const float* x) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const auto magnitudes = [&](int64_t k) {
    return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k)), magnitude);
  };
  __m256i largest = _mm256_setzero_si256();
  for (int64_t k = 0; k < kQ8KBlock; k += 8) largest = _mm256_max_epu32(largest, magnitudes(k));
  const __m256i wanted = _mm256_set1_epi32(static_cast<int>(largest_of(largest)));
  for (int64_t k = 0; k < kQ8KBlock; k += 8) {
    const int found = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitudes(k), wanted)));
    if (found) return x[k + __builtin_ctz(static_cast<unsigned>(found))];
  }
  return 0.0f;
}

/// round_to_q8_k_ref, bit for bit.
inline void round_to_q8_k(const PackedMatrix& w, const float* x, std::byte* out) {
  const int64_t blocks = w.cols / kQ8KBlock;
  auto* scales = reinterpret_cast<float*>(out + w.cols);
  std::byte* sums = out + w.cols + blocks * 4;
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes the lane-wise packing below
  for (int64_t b = 0; b < blocks; ++b) {
    const float* xb = x + b * kQ8KBlock;
    const float largest = first_of_largest_magnitude(xb);
    const float inverse = -127.0f / largest;
    scales[b] = largest != 0.0f ? 1.0f / inverse : 0.0f;
    const bool rounds = inverse - inverse == 0.0f && inverse != 0.0f;  // finite and not 0
    const __m256 factor = _mm256_set1_ps(inverse);
    for (int64_t k = 0; k < kQ8KBlock; k += 32) {
      __m256i packed = _mm256_setzero_si256();
      if (rounds) {
        __m256i q[4];
        for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(xb + k + i * 8), factor));
        packed = _mm256_permutevar8x32_epi32(
            _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])), in_order);
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + b * kQ8KBlock + k), packed);
      // Sums of 16: four 32-bit words of four codes each are added within each half of the vector.
      __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), packed), _mm256_set1_epi16(1));
      fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
      fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1));
      const auto low = static_cast<int16_t>(_mm256_extract_epi16(fours, 0));
      const auto high = static_cast<int16_t>(_mm256_extract_epi16(fours, 8));
      __builtin_memcpy(sums + (b * kQ8KBlock + k) / kQ8KSum * 2, &low, 2);
      __builtin_memcpy(sums + (b * kQ8KBlock + k) / kQ8KSum * 2 + 2, &high, 2);
    }
  }
}

}  // namespace
}  // namespace kerf
