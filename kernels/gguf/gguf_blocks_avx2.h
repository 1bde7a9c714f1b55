// Reading GGUF blocks and rounding activations with AVX2; the AVX-512 kernels use these too. For files compiled per
// instruction set only: everything here has internal linkage, so that no other file can end up with this code.
#pragma once

#include "kernels/gemm.h"
#include "kernels/gguf/q8_activations.h"
#include "kernels/intrinsics.h"

namespace kerf {
namespace {

inline __m256i bytes_at(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

/// 32 nibbles as bytes, those of 16 low ones first.
inline __m256i nibbles_at(const std::byte* p) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(low, 4), low), _mm256_set1_epi8(15));
}

/// 0xff in byte k where bit k is set, 0 elsewhere.
inline __m256i masks_of_bits(uint32_t bits) {
  const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i everywhere = _mm256_set1_epi32(static_cast<int>(bits));
  return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(everywhere, byte), bit), bit);
}

inline uint32_t word_at(const std::byte* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

/// The numbers of a table of 16 that nibbles stand for.
inline __m256i looked_up(const int8_t* table, __m256i nibbles) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_set_m128i(t, t), nibbles);
}

inline uint16_t scale_bits(const std::byte* block) {
  uint16_t half;
  __builtin_memcpy(&half, block, 2);
  return half;
}

inline float block_scale(const std::byte* block) { return _cvtsh_ss(scale_bits(block)); }

/// Of types with kSums.
inline float block_offset(const std::byte* block) { return block_scale(block + 2); }

/// How blocks are read (q8_types.h; the reference of each type says what lies where): 32 codes, unsigned as
/// q + kZeroPoint or signed, and the scale of weight k. Of blocks of more weights, those of 32 of them.
struct HalfScaleFirst {
  static constexpr bool kHalfScale = true;
  static float scale(const std::byte* block, int64_t = 0) { return block_scale(block); }
};

template <class Block, class Type>
struct SignedFromUnsigned : Type, HalfScaleFirst {
  static __m256i signed_codes(const std::byte* block) {
    return _mm256_sub_epi8(Block::unsigned_codes(block), _mm256_set1_epi8(static_cast<char>(Type::kZeroPoint)));
  }
};

struct Q8_0Block : Q8_0Type, HalfScaleFirst {
  static __m256i unsigned_codes(const std::byte* block) {
    return _mm256_xor_si256(bytes_at(block + 2), _mm256_set1_epi8(-128));
  }
  static __m256i signed_codes(const std::byte* block) { return bytes_at(block + 2); }
};

struct Q4_0Block : SignedFromUnsigned<Q4_0Block, Q4_0Type> {
  static constexpr int64_t kNibbles = 2;
  static constexpr const int8_t* kValues = nullptr;  // nibbles are the unsigned codes
  static __m256i unsigned_codes(const std::byte* block) { return nibbles_at(block + 2); }
};

struct Q4_1Block : SignedFromUnsigned<Q4_1Block, Q4_1Type> {
  static __m256i unsigned_codes(const std::byte* block) { return nibbles_at(block + 4); }
};

template <class Block, class Type, int64_t kBits>
struct FiveBits : SignedFromUnsigned<Block, Type> {
  static __m256i unsigned_codes(const std::byte* block) {
    const __m256i fifth = _mm256_and_si256(masks_of_bits(word_at(block + kBits)), _mm256_set1_epi8(16));
    return _mm256_or_si256(nibbles_at(block + kBits + 4), fifth);
  }
};
struct Q5_0Block : FiveBits<Q5_0Block, Q5_0Type, 2> {};
struct Q5_1Block : FiveBits<Q5_1Block, Q5_1Type, 4> {};

struct IQ4_NLBlock : IQ4_NLType, HalfScaleFirst {
  static constexpr int64_t kNibbles = 2;
  static constexpr const int8_t* kValues = kIq4Values;
  static __m256i signed_codes(const std::byte* block) { return looked_up(kValues, nibbles_at(block + kNibbles)); }
  static __m256i unsigned_codes(const std::byte* block) {
    return _mm256_xor_si256(signed_codes(block), _mm256_set1_epi8(-128));
  }
};

struct MXFP4Block : MXFP4Type {
  static constexpr bool kHalfScale = false;
  static constexpr int64_t kNibbles = 1;
  static constexpr const int8_t* kValues = kFp4Values;
  static float scale(const std::byte* block, int64_t = 0) {  // 2^(e - 128), subnormal for e < 2
    const auto e = static_cast<uint32_t>(block[0]);
    const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
  }
  static __m256i signed_codes(const std::byte* block) { return looked_up(kValues, nibbles_at(block + kNibbles)); }
  static __m256i unsigned_codes(const std::byte* block) {
    return _mm256_add_epi8(signed_codes(block), _mm256_set1_epi8(kZeroPoint));
  }
};

struct NVFP4Block : NVFP4Type {
  static float scale(const std::byte* block, int64_t k) {
    const auto bits = static_cast<uint32_t>(block[k / 16]);
    const uint32_t exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0.0f;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
    const uint32_t as_float = (exponent + 119) << 23 | mantissa << 20;  // 127 - 7 - 1 for the half
    float f;
    __builtin_memcpy(&f, &as_float, 4);
    return f;
  }
  static __m256i signed_codes(const std::byte* block, int64_t chunk) {
    // Nibbles of 16 weights lie in 8 bytes: the quarters of 32 are low, low, high, high in memory.
    const __m256i codes = looked_up(kFp4Values, nibbles_at(block + 4 + chunk * 16));
    return _mm256_permute4x64_epi64(codes, 0xd8);
  }
};

struct Q1_0Block : Q1_0Type, HalfScaleFirst {
  static __m256i signed_codes(const std::byte* block, int64_t chunk) {
    const __m256i set = masks_of_bits(word_at(block + 2 + chunk * 4)), one = _mm256_set1_epi8(1);
    return _mm256_sub_epi8(_mm256_and_si256(set, _mm256_set1_epi8(2)), one);
  }
};

struct Q2_0Block : Q2_0Type, HalfScaleFirst {
  static __m256i signed_codes(const std::byte* block, int64_t chunk) {
    // Every byte four times, and of the i-th time its i-th two bits.
    int64_t bytes;
    __builtin_memcpy(&bytes, block + 2 + chunk * 8, 8);
    const __m256i spread = _mm256_shuffle_epi8(
        _mm256_set1_epi64x(bytes), _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5,
                                                    5, 6, 6, 6, 6, 7, 7, 7, 7));
    const __m256i three = _mm256_set1_epi8(3), place = _mm256_set1_epi32(0x03020100);
    __m256i codes = _mm256_setzero_si256();
    for (char i = 0; i < 4; ++i) {
      const __m256i here = _mm256_cmpeq_epi8(place, _mm256_set1_epi8(i));
      codes = _mm256_or_si256(codes, _mm256_and_si256(_mm256_and_si256(_mm256_srli_epi16(spread, 2 * i), three), here));
    }
    return _mm256_sub_epi8(codes, _mm256_set1_epi8(1));
  }
};

/// Chunk c of a row: 32 signed codes.
template <class Block>
inline __m256i codes_of_chunk(const std::byte* row, int64_t c) {
  constexpr int64_t kChunks = Block::kWeights / kQ8Block;
  if constexpr (kChunks == 1)
    return Block::signed_codes(row + c * Block::kBytes);
  else
    return Block::signed_codes(row + c / kChunks * Block::kBytes, c % kChunks);
}

/// The scales of n <= 8 blocks that lie side by side, 0 beyond.
template <class Block>
inline __m256 scales_of_eight(const std::byte* block, int64_t n) {
  if constexpr (Block::kHalfScale) {
    alignas(16) uint16_t bits[8] = {};
    if (n >= 8) {  // without a loop, so that no store has to be forwarded to a wider load
      const auto at = [block](int i) { return static_cast<short>(scale_bits(block + i * Block::kBytes)); };
      return _mm256_cvtph_ps(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)));
    }
    for (int64_t i = 0; i < n; ++i) bits[i] = scale_bits(block + i * Block::kBytes);
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(bits)));
  } else {
    alignas(32) float scales[8] = {};
    for (int64_t i = 0; i < n && i < 8; ++i) scales[i] = Block::scale(block + i * Block::kBytes);
    return _mm256_load_ps(scales);
  }
}

/// The first n <= 8 floats, 0 beyond.
inline __m256 first_of_eight(const float* p, int64_t n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index));
}

/// 32 signed bytes as 16-bit numbers: lane l holds bytes 4 l and 4 l + 2, or 4 l + 1 and 4 l + 3.
struct Widened {
  __m256i even, odd;
  Widened() = default;
  explicit Widened(__m256i bytes)
      : even(_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8)), odd(_mm256_srai_epi16(bytes, 8)) {}
};

/// In each of eight lanes the sum of four products.
inline __m256i products_of_fours(const Widened& a, const Widened& b) {
  return _mm256_add_epi32(_mm256_madd_epi16(a.even, b.even), _mm256_madd_epi16(a.odd, b.odd));
}

/// Rows of rounded activations, `bytes` apart (the layout is q8_activations.h's).
struct Q8Activations {
  const std::byte* rows;
  int64_t bytes, cols;

  const std::byte* codes(int64_t t) const { return rows + t * bytes; }
  const float* scales(int64_t t) const { return reinterpret_cast<const float*>(rows + t * bytes + cols); }
  /// Of types with kSums.
  const float* sums(int64_t t) const { return scales(t) + cols / kQ8Block; }
  /// Of types without.
  const int32_t* corrections(int64_t t) const { return reinterpret_cast<const int32_t*>(scales(t) + cols / kQ8Block); }
};

template <class Type>
inline Q8Activations q8_activations(const PackedMatrix& w, const std::byte* activations) {
  return {activations, w.cols + w.cols / kQ8Block * (4 + Type::kExtraWords * 4), w.cols};
}

/// Of types with kSums: offset times sum, block by block.
template <class Block>
inline float sum_of_offsets(const PackedMatrix& w, int64_t row, const Q8Activations& a, int64_t t) {
  __m128 sum = _mm_setzero_ps();
  const std::byte* block = w.codes + row * w.code_stride;
  for (int64_t b = 0; b < w.cols / kQ8Block; ++b, block += Block::kBytes)
    sum = _mm_fmadd_ss(_mm_set_ss(block_offset(block)), _mm_set_ss(a.sums(t)[b]), sum);
  return _mm_cvtss_f32(sum);
}

template <class Type>
int64_t activation_bytes(const PackedMatrix& w) {
  return q8_activation_bytes(w, Type::kWeights, Type::kExtraWords);
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
template <class Type>
void round_to_q8(const PackedMatrix& w, const float* x, std::byte* out) {
  const int64_t blocks = w.cols / kQ8Block;
  auto* scales = reinterpret_cast<float*>(out + w.cols);
  auto* extra = reinterpret_cast<std::byte*>(scales + blocks);
  [[maybe_unused]] auto* corrections = reinterpret_cast<int32_t*>(extra);
  [[maybe_unused]] auto* block_sums = reinterpret_cast<float*>(extra);
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
    if constexpr (Type::kSums) {
      const float scaled = amax / 127.0f * static_cast<float>(sum_of(sums));
      block_sums[b] = _cvtsh_ss(_cvtss_sh(scaled, _MM_FROUND_TO_NEAREST_INT));
    } else if constexpr (Type::kCorrections == 8) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(corrections + b * 8),
                          _mm256_mullo_epi32(sums, _mm256_set1_epi32(-Type::kZeroPoint)));
    } else if constexpr (Type::kCorrections == 1) {
      corrections[b] = -Type::kZeroPoint * sum_of(sums);
    }
  }
}

template <class Block>
void dequantize_blocks(const PackedMatrix& w, int64_t row, float* out) {
  for (int64_t c = 0; c < w.cols / kQ8Block; ++c) {
    constexpr int64_t kChunks = Block::kWeights / kQ8Block;
    const std::byte* block = w.codes + row * w.code_stride + c / kChunks * Block::kBytes;
    alignas(32) int8_t codes[kQ8Block];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes), codes_of_chunk<Block>(w.codes + row * w.code_stride, c));
    for (int i = 0; i < 4; ++i) {
      const __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i * 8)));
      const __m256 scale = _mm256_set1_ps(Block::scale(block, c % kChunks * kQ8Block + i * 8));
      __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(q), scale);
      if constexpr (Block::kSums) v = _mm256_add_ps(v, _mm256_set1_ps(block_offset(block)));
      _mm256_storeu_ps(out + c * kQ8Block + i * 8, v);
    }
  }
}

/// The members of a kernel that Block and its product settle.
template <class Block, auto kMultiply>
constexpr PackedGemm q8_gemm(std::string_view format, Isa isa) {
  return {.format = format,
          .isa = isa,
          .activation_bytes = activation_bytes<Block>,
          .round_activations = round_to_q8<Block>,
          .multiply = kMultiply,
          .dequantize = dequantize_blocks<Block>,
          .activation_values = q8_activation_values};
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
