// Reading blocks of the IQ1, IQ2 and IQ3 types with AVX2; the AVX-512 kernels use this too. What lies where in a block
// is said by the reference of its type. For files compiled per instruction set only.
#pragma once

#include "core/iq_codebooks.h"
#include "kernels/gguf/q8_k_blocks_avx2.h"

namespace kerf {
namespace {

template <bool kWide_>
struct IqBlock {
  static constexpr bool kSigned = true, kWide = kWide_, kScaled = true;
  static uint16_t d(const std::byte* p) { return scale_bits(p); }
};

inline uint32_t byte_at(const std::byte* p, int i) { return static_cast<uint32_t>(p[i]); }

inline uint32_t u16_at(const std::byte* p) {
  uint16_t v;
  __builtin_memcpy(&v, p, 2);
  return v;
}

/// Scales 2 s + 1 from s of 16 weights each, 16 numbers.
inline void odd_scales_of_16(__m256i s, KCodes& block) {
  scales_of_16(_mm256_or_si256(_mm256_add_epi16(s, s), _mm256_set1_epi16(1)), block);
}
/// ... of 32 weights each.
inline void odd_scales_of_32(__m128i s, KCodes& block) {
  scales_of_32(_mm_or_si128(_mm_add_epi16(s, s), _mm_set1_epi16(1)), block);
}
/// From the nibbles of eight bytes, low ones first.
inline void odd_scales_of_nibbles(const std::byte* p, KCodes& block) {
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15));
  odd_scales_of_16(_mm256_cvtepu8_epi16(nibbles), block);
}
/// From the top four bits of eight words, `stride` bytes apart.
inline void odd_scales_of_words(const std::byte* p, int stride, KCodes& block) {
  const auto at = [&](int i) { return static_cast<short>(word_at(p + i * stride) >> 28); };
  odd_scales_of_32(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)), block);
}

/// Bytes of seven signs each, with an eighth that makes their number even (even_signs, four at once).
inline uint32_t even_signs_of_four(uint32_t sevens) {
  uint32_t parity = (sevens ^ sevens >> 4) & 0x0f0f0f0f;
  parity = (parity ^ parity >> 2) & 0x03030303;
  parity = (parity ^ parity >> 1) & 0x01010101;
  return sevens | parity << 7;
}

/// The lowest 28 bits as four bytes of seven.
inline uint32_t sevens_of(uint32_t word) { return _pdep_u32(word, 0x7f7f7f7f); }

inline __m256i with_signs(__m256i magnitudes, uint32_t signs) {
  const __m256i negative = masks_of_bits(signs);
  return _mm256_sub_epi8(_mm256_xor_si256(magnitudes, negative), negative);
}

/// Combinations number index(0) .. index(3) of eight.
template <class Index>
inline __m256i eights(const uint64_t* book, Index index) {
  const auto at = [&](int i) { return static_cast<int64_t>(book[index(i)]); };
  return _mm256_setr_epi64x(at(0), at(1), at(2), at(3));
}

/// Combinations number index(0) .. index(7) of four.
template <class Index>
inline __m256i fours(const uint32_t* book, Index index) {
  const auto at = [&](int i) { return static_cast<int>(book[index(i)]); };
  return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

/// Ternary weights: eight times g + delta, where bit 8 i of the word tells that the i-th delta is negative.
template <class Index>
inline __m256i ternary(const uint64_t* book, Index index, uint32_t negative_deltas) {
  const __m256i deltas = _mm256_or_si256(masks_of_bits(negative_deltas * 0xff), _mm256_set1_epi8(1));
  return _mm256_add_epi8(eights(book, index), deltas);
}

struct IQ2_XXSBlock : IQ2_XXSType, IqBlock<true> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_xxs);
    odd_scales_of_words(p + 6, 8, block);
    for (int part = 0; part < 8; ++part) {
      const std::byte* from = p + 2 + part * 8;
      const uint32_t rest = word_at(from + 4);
      const __m256i magnitudes = eights(book, [&](int i) { return byte_at(from, i); });
      block.codes[part] = with_signs(magnitudes, even_signs_of_four(sevens_of(rest)));
    }
  }
};

struct IQ2_XSBlock : IQ2_XSType, IqBlock<false> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_xs);
    odd_scales_of_nibbles(p + 66, block);
    for (int part = 0; part < 8; ++part) {
      const std::byte* from = p + 2 + part * 8;
      uint32_t sevens = 0;
      for (int i = 0; i < 4; ++i) sevens |= u16_at(from + 2 * i) >> 9 << 8 * i;
      const __m256i magnitudes = eights(book, [&](int i) { return u16_at(from + 2 * i) & 511; });
      block.codes[part] = with_signs(magnitudes, even_signs_of_four(sevens));
    }
  }
};

struct IQ2_SBlock : IQ2_SType, IqBlock<false> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq2_s);
    odd_scales_of_nibbles(p + 74, block);
    for (int part = 0; part < 8; ++part) {
      const uint32_t upper = byte_at(p, 66 + part);
      const auto index = [&](int i) { return byte_at(p, 2 + part * 4 + i) | (upper >> 2 * i & 3) << 8; };
      block.codes[part] = with_signs(eights(book, index), word_at(p + 34 + part * 4));
    }
  }
};

struct IQ3_XXSBlock : IQ3_XXSType, IqBlock<true> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint32_t* book = iq_fours(IqCodebook::iq3_xxs);
    odd_scales_of_words(p + 66, 4, block);
    for (int part = 0; part < 8; ++part) {
      const uint32_t rest = word_at(p + 66 + part * 4);
      const __m256i magnitudes = fours(book, [&](int i) { return byte_at(p, 2 + part * 8 + i); });
      block.codes[part] = with_signs(magnitudes, even_signs_of_four(sevens_of(rest)));
    }
  }
};

struct IQ3_SBlock : IQ3_SType, IqBlock<true> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint32_t* book = iq_fours(IqCodebook::iq3_s);
    const uint32_t scales = word_at(p + 106);
    const __m128i pairs = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(static_cast<int>(scales)));
    const __m128i nibbles = _mm_or_si128(pairs, _mm_slli_epi32(pairs, 12));
    odd_scales_of_32(_mm_and_si128(nibbles, _mm_set1_epi16(15)), block);
    for (int part = 0; part < 8; ++part) {
      const uint32_t ninth = byte_at(p, 66 + part);
      const auto index = [&](int i) { return byte_at(p, 2 + part * 8 + i) | (ninth >> i & 1) << 8; };
      block.codes[part] = with_signs(fours(book, index), word_at(p + 74 + part * 4));
    }
  }
};

struct IQ1_SBlock : IQ1_SType, IqBlock<true> {
  static void unpack(const std::byte* p, KCodes& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq1);
    const __m128i rests = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 34));
    odd_scales_of_32(_mm_and_si128(_mm_srli_epi16(rests, 12), _mm_set1_epi16(7)), block);
    for (int part = 0; part < 8; ++part) {
      const uint32_t rest = u16_at(p + 34 + part * 2);
      const auto index = [&](int i) { return byte_at(p, 2 + part * 4 + i) | (rest >> 3 * i & 7) << 8; };
      block.codes[part] = ternary(book, index, (rest >> 15) * 0x01010101);
    }
  }
};

struct IQ1_MBlock : IQ1_MType, IqBlock<false> {
  static uint16_t d(const std::byte* p) {
    uint64_t words;
    __builtin_memcpy(&words, p + 48, 8);
    return static_cast<uint16_t>(_pext_u64(words, 0xf000f000f000f000));
  }
  static void unpack(const std::byte* p, KCodes& block) {
    const uint64_t* book = iq_eights(IqCodebook::iq1);
    uint64_t words;
    __builtin_memcpy(&words, p + 48, 8);
    const uint64_t low = _pdep_u64(_pext_u64(words, 0x00000fff00000fff), 0x0707070707070707);
    const uint64_t high = _pdep_u64(_pext_u64(words, 0x0fff00000fff0000), 0x0707070707070707);
    // Eight scales of the first and third word, and eight of the second and fourth: fours in turn.
    const __m128i scales =
        _mm_unpacklo_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(low)), _mm_cvtsi64_si128(static_cast<int64_t>(high)));
    odd_scales_of_16(_mm256_cvtepu8_epi16(scales), block);
    for (int part = 0; part < 8; ++part) {
      const uint32_t nibbles = u16_at(p + 32 + part * 2);
      const auto index = [&](int i) { return byte_at(p, part * 4 + i) | (nibbles >> 4 * i & 7) << 8; };
      block.codes[part] = ternary(book, index, _pdep_u32(_pext_u32(nibbles, 0x8888), 0x01010101));
    }
  }
};

}  // namespace
}  // namespace kerf
