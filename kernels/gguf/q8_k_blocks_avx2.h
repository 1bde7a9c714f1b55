// Reading blocks of 256 weights with AVX2; the AVX-512 kernels use this too. What lies where in a block is said by the
// reference of its type. For files compiled per instruction set only: everything here has internal linkage, so that no
// other file can end up with this code.
#pragma once

#include "kernels/gguf/gguf_blocks_avx2.h"
#include "kernels/gguf/q8_k_types.h"
#include "kernels/gguf/q8_types.h"

namespace kerf {
namespace {

/// A block as kernels want it; what a kernel does not use costs nothing, since everything is inlined.
struct KCodes {
  __m256i codes[8];      // codes[j]: weights 32 j .. 32 j + 31 as bytes
  __m256i spread[8];     // the scales of codes[j]: that of 16 weights in every 16-bit number of each half
  __m256i scales, mins;  // of 16 weights each, as 16-bit numbers
  __m128i mins_of_32;    // where 32 weights have one
};

inline __m128i words(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return _mm_setr_epi32(static_cast<int>(a), static_cast<int>(b), static_cast<int>(c), static_cast<int>(d));
}

/// Sixteen scales of 16 weights as 16-bit numbers.
inline void scales_of_16(__m256i scales, KCodes& block) {
  const __m256i first =
      _mm256_setr_epi64x(0x0100010001000100, 0x0100010001000100, 0x0302030203020302, 0x0302030203020302);
  const __m256i low = _mm256_permute4x64_epi64(scales, 0x44), high = _mm256_permute4x64_epi64(scales, 0xee);
  for (int i = 0; i < 4; ++i) {
    const __m256i index = _mm256_add_epi8(first, _mm256_set1_epi8(static_cast<char>(4 * i)));
    block.spread[i] = _mm256_shuffle_epi8(low, index);
    block.spread[i + 4] = _mm256_shuffle_epi8(high, index);
  }
  block.scales = scales;
}

/// Each of eight 16-bit numbers twice.
inline __m256i twice(__m128i v) { return _mm256_set_m128i(_mm_unpackhi_epi16(v, v), _mm_unpacklo_epi16(v, v)); }

/// Eight scales of 32 weights as 16-bit numbers.
inline void scales_of_32(__m128i scales, KCodes& block) {
  const __m256i both = _mm256_set_m128i(scales, scales);
  for (int i = 0; i < 8; ++i)
    block.spread[i] = _mm256_shuffle_epi8(both, _mm256_set1_epi16(static_cast<short>(2 * i | (2 * i + 1) << 8)));
  block.scales = twice(scales);
}

/// p: the 16 bytes of two F16 numbers and of 6-bit scales and minima.
inline void six_bit_scales(const std::byte* p, KCodes& block) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  // Four bytes each: the first scales, the other scales, the first minima, the other minima.
  const __m128i low = _mm_and_si128(_mm_srlv_epi32(_mm_shuffle_epi32(v, 0xed), _mm_setr_epi32(0, 0, 0, 4)),
                                    _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
  const __m128i high =
      _mm_and_si128(_mm_srli_epi32(_mm_shuffle_epi32(v, 0xa5), 2), _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
  const __m128i all = _mm_or_si128(low, high);
  scales_of_32(_mm_cvtepu8_epi16(all), block);
  block.mins_of_32 = _mm_unpackhi_epi8(all, _mm_setzero_si128());
  block.mins = twice(block.mins_of_32);
}

template <int kShift>
inline __m256i bits_from(__m256i v, char mask) {
  return _mm256_and_si256(_mm256_srli_epi16(v, kShift), _mm256_set1_epi8(mask));
}

/// Four times 2 bits of 32 bytes.
inline void two_bit_codes(__m256i v, __m256i* codes) {
  codes[0] = bits_from<0>(v, 3);
  codes[1] = bits_from<2>(v, 3);
  codes[2] = bits_from<4>(v, 3);
  codes[3] = bits_from<6>(v, 3);
}

/// Blocks: kSigned, whether codes are; kWide, whether 32 weights have one scale; kScaled, whether there are any scales
/// but d; d() and dmin(), bits of F16 numbers; unpack().
struct Q4_KBlock : Q4_KType {
  static constexpr bool kSigned = false, kWide = true, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p); }
  static uint16_t dmin(const std::byte* p) { return scale_bits(p + 2); }
  static void unpack(const std::byte* p, KCodes& block) {
    six_bit_scales(p, block);
    for (int i = 0; i < 4; ++i) {
      const __m256i v = bytes_at(p + 16 + i * 32);
      block.codes[2 * i] = bits_from<0>(v, 15);
      block.codes[2 * i + 1] = bits_from<4>(v, 15);
    }
  }
};

struct Q5_KBlock : Q5_KType {
  static constexpr bool kSigned = false, kWide = true, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p); }
  static uint16_t dmin(const std::byte* p) { return scale_bits(p + 2); }
  static void unpack(const std::byte* p, KCodes& block) {
    six_bit_scales(p, block);
    __m256i high = bytes_at(p + 16);
    for (int i = 0; i < 4; ++i, high = _mm256_srli_epi16(high, 2)) {
      const __m256i v = bytes_at(p + 48 + i * 32);
      const __m256i first = _mm256_and_si256(_mm256_slli_epi16(high, 4), _mm256_set1_epi8(16));
      const __m256i second = _mm256_and_si256(_mm256_slli_epi16(high, 3), _mm256_set1_epi8(16));
      block.codes[2 * i] = _mm256_or_si256(bits_from<0>(v, 15), first);
      block.codes[2 * i + 1] = _mm256_or_si256(bits_from<4>(v, 15), second);
    }
  }
};

struct Q6_KBlock : Q6_KType {
  static constexpr bool kSigned = false, kWide = false, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p + 208); }
  static void unpack(const std::byte* p, KCodes& block) {
    scales_of_16(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 192))), block);
    const __m256i high = _mm256_set1_epi8(0x30);
    for (int half = 0; half < 2; ++half) {
      const __m256i a = bytes_at(p + half * 64), b = bytes_at(p + half * 64 + 32), h = bytes_at(p + 128 + half * 32);
      __m256i* codes = block.codes + half * 4;
      codes[0] = _mm256_or_si256(bits_from<0>(a, 15), _mm256_and_si256(_mm256_slli_epi16(h, 4), high));
      codes[1] = _mm256_or_si256(bits_from<0>(b, 15), _mm256_and_si256(_mm256_slli_epi16(h, 2), high));
      codes[2] = _mm256_or_si256(bits_from<4>(a, 15), _mm256_and_si256(h, high));
      codes[3] = _mm256_or_si256(bits_from<4>(b, 15), _mm256_and_si256(_mm256_srli_epi16(h, 2), high));
    }
  }
};

struct Q3_KBlock : Q3_KType {
  static constexpr bool kSigned = true, kWide = false, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p + 108); }
  static void unpack(const std::byte* p, KCodes& block) {
    const uint32_t a = word_at(p + 96), b = word_at(p + 100), c = word_at(p + 104);
    const __m128i scales =
        words((a & 0x0f0f0f0f) | (c << 4 & 0x30303030), (b & 0x0f0f0f0f) | (c << 2 & 0x30303030),
              (a >> 4 & 0x0f0f0f0f) | (c & 0x30303030), (b >> 4 & 0x0f0f0f0f) | (c >> 2 & 0x30303030));
    scales_of_16(_mm256_cvtepi8_epi16(_mm_sub_epi8(scales, _mm_set1_epi8(32))), block);
    two_bit_codes(bytes_at(p + 32), block.codes);
    two_bit_codes(bytes_at(p + 64), block.codes + 4);
    const __m256i high = bytes_at(p), four = _mm256_set1_epi8(4);
    for (int i = 0; i < 8; ++i) {
      const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << i));
      const __m256i missing = _mm256_cmpeq_epi8(_mm256_and_si256(high, bit), _mm256_setzero_si256());
      block.codes[i] = _mm256_sub_epi8(block.codes[i], _mm256_and_si256(missing, four));
    }
  }
};

struct Q2_KBlock : Q2_KType {
  static constexpr bool kSigned = false, kWide = false, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p + 80); }
  static uint16_t dmin(const std::byte* p) { return scale_bits(p + 82); }
  static void unpack(const std::byte* p, KCodes& block) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), low = _mm_set1_epi8(15);
    scales_of_16(_mm256_cvtepu8_epi16(_mm_and_si128(both, low)), block);
    block.mins = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), low));
    two_bit_codes(bytes_at(p + 16), block.codes);
    two_bit_codes(bytes_at(p + 48), block.codes + 4);
  }
};

struct IQ4_XSBlock : IQ4_XSType {
  static constexpr bool kSigned = true, kWide = true, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p); }
  static void unpack(const std::byte* p, KCodes& block) {
    // Of the first word the upper half are the upper bits of the scales, two each.
    const __m128i upper =
        _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(word_at(p) >> 16)), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i lower = _mm_set1_epi32(static_cast<int>(word_at(p + 4)));
    // 16-bit number i: nibble i of the lower halves, and bits 2 i of the upper ones.
    const __m128i nibble =
        _mm_and_si128(_mm_shuffle_epi8(_mm_unpacklo_epi8(lower, _mm_srli_epi16(lower, 4)),
                                       _mm_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1)),
                      _mm_set1_epi16(15));
    const __m128i pair =
        _mm_and_si128(_mm_shuffle_epi8(upper, _mm_setr_epi8(0, -1, 4, -1, 8, -1, 12, -1, 1, -1, 5, -1, 9, -1, 13, -1)),
                      _mm_set1_epi16(3));
    const __m128i scales = _mm_or_si128(nibble, _mm_slli_epi16(pair, 4));
    scales_of_32(_mm_sub_epi16(scales, _mm_set1_epi16(32)), block);
    for (int i = 0; i < 8; ++i) block.codes[i] = looked_up(kIq4Values, nibbles_at(p + 8 + i * 16));
  }
};

struct TQ2_0Block : TQ2_0Type {
  static constexpr bool kSigned = false, kWide = true, kScaled = false;
  static uint16_t d(const std::byte* p) { return scale_bits(p + 64); }
  static void unpack(const std::byte* p, KCodes& block) {
    two_bit_codes(bytes_at(p), block.codes);
    two_bit_codes(bytes_at(p + 32), block.codes + 4);
  }
};

struct TQ1_0Block : TQ1_0Type {
  static constexpr bool kSigned = false, kWide = true, kScaled = false;
  static uint16_t d(const std::byte* p) { return scale_bits(p + 52); }
  /// v times 3, modulo 256.
  static __m256i tripled(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }
  /// 3 v / 256: 1 for v >= 86, 2 for v >= 171.
  static __m256i code(__m256i v) {
    const __m256i one = _mm256_cmpeq_epi8(_mm256_max_epu8(v, _mm256_set1_epi8(86)), v);
    const __m256i two = _mm256_cmpeq_epi8(_mm256_max_epu8(v, _mm256_set1_epi8(static_cast<char>(171))), v);
    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(one, two));
  }
  static void unpack(const std::byte* p, KCodes& block) {
    __m256i v = bytes_at(p);
    for (int i = 0; i < 5; ++i, v = tripled(v)) block.codes[i] = code(v);
    // 16 bytes with their triples beside them: two places at a time; the last four bytes follow the fifth.
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 32));
    const __m256i bytes = _mm256_set_m128i(low, low);
    const __m256i four = _mm256_set1_epi32(static_cast<int>(word_at(p + 48)));
    const __m256i places = _mm256_blend_epi32(bytes, tripled(bytes), 0xf0);
    const __m256i nine = tripled(tripled(places));
    block.codes[5] = code(places);
    block.codes[6] = code(nine);
    const __m256i fifth = tripled(tripled(nine));
    const __m256i by_3 = tripled(four), by_9 = tripled(by_3), by_27 = tripled(by_9);
    const __m256i fours =
        _mm256_blend_epi32(_mm256_blend_epi32(four, by_3, 0x20), _mm256_blend_epi32(by_9, by_27, 0x80), 0xc0);
    block.codes[7] = code(_mm256_blend_epi32(fifth, fours, 0xf0));
  }
};

}  // namespace
}  // namespace kerf
