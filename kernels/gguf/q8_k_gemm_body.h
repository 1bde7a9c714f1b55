// Products with blocks of 256 weights (q8_k_gemm_ref.h), one text for every instruction set with 256-bit vectors.
//
// By lanes: a block of a row is unpacked once for up to kTokens tokens. The 32-bit lanes of a vector are the lanes of
// the definition: maddubs multiplies codes and adds neighbours, madd multiplies with the scale and adds neighbours
// again. Few tokens of interleaved rows: the same, then the lanes of 8 rows are added up into one vector of 8 rows.
// Many tokens of interleaved rows: 8 rows are repacked so that lanes are rows and each holds 4 weights along the row;
// it meets 4 codes of a token, broadcast from memory.
//
// Ops: `scaled(sums, pairs, scales)` adds 16-bit pairs times 16-bit scales to 32-bit sums; `fours_unsigned(sums, u, a)`
// and `fours_signed(sums, q, a)` add four products of weights with a token's codes to each lane.
// For files compiled per instruction set only.
#pragma once

#include "kernels/gguf/q8_k_activations_avx2.h"
#include "kernels/gguf/q8_k_blocks_avx2.h"

namespace kerf {
namespace {

template <class Block, class Ops>
struct Q8KGemm {
  static constexpr int kTokens = 16, kRows = 8;
  static constexpr bool kHasMinima = Block::kMinParts != 0;
  /// Panels hold signed codes plus 128, which is taken off by way of the tokens' sums.
  static constexpr bool kOffset = Block::kSigned && Ops::kAnyUnsigned;
  static_assert(!(kOffset && kHasMinima));

  struct Unpacked : KCodes {
    explicit Unpacked(const std::byte* p) { Block::unpack(p, *this); }
  };

  /// One block of a token.
  struct Token {
    const std::byte* codes;
    const int16_t* sums;
    float scale;
    Token(const Q8KActivations& a, int64_t t, int64_t b)
        : codes(a.codes(t) + b * kQ8KBlock), sums(a.sums(t) + b * (kQ8KBlock / kQ8KSum)), scale(a.scales(t)[b]) {}
    __m256i sums_of_16() const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)); }
    __m128i sums_of_32() const {
      const __m256i v = sums_of_16();
      return _mm_hadd_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    }
  };

  static const std::byte* block_at(const PackedMatrix& w, int64_t row, int64_t b) {
    return w.codes + row * w.code_stride + b * Block::kBytes;
  }

  static __m256i pairs(__m256i weights, __m256i codes) {
    if (!Block::kSigned) return _mm256_maddubs_epi16(weights, codes);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(codes, weights));
  }

  /// The integers of the eight lanes.
  static __m256i lanes(const Unpacked& w, const Token& a) {
    const __m256i zero = _mm256_setzero_si256();
    if (!Block::kScaled) {  // zero points of 1 and at most 8 x 2 x 3 x 127: 16 bits do
      __m256i even = zero, odd = zero;
      for (int j = 0; j < 8; j += 2) {
        even = _mm256_add_epi16(even, pairs(w.codes[j], bytes_at(a.codes + j * 32)));
        odd = _mm256_add_epi16(odd, pairs(w.codes[j + 1], bytes_at(a.codes + j * 32 + 32)));
      }
      return _mm256_madd_epi16(_mm256_sub_epi16(_mm256_add_epi16(even, odd), a.sums_of_16()), _mm256_set1_epi16(1));
    }
    __m256i even = zero, odd = zero;
    for (int j = 0; j < 8; j += 2) {
      even = Ops::scaled(even, pairs(w.codes[j], bytes_at(a.codes + j * 32)), w.spread[j]);
      odd = Ops::scaled(odd, pairs(w.codes[j + 1], bytes_at(a.codes + j * 32 + 32)), w.spread[j + 1]);
    }
    const __m256i sum = _mm256_add_epi32(even, odd);
    if (Block::kZero == 0) return sum;
    const __m256i taken = _mm256_madd_epi16(a.sums_of_16(), w.scales);
    return _mm256_sub_epi32(sum, _mm256_mullo_epi32(taken, _mm256_set1_epi32(Block::kZero)));
  }

  /// Of four parts of the block.
  static __m128i minima(const Unpacked& w, const Token& a) {
    if (Block::kWide) return _mm_madd_epi16(w.mins_of_32, a.sums_of_32());
    const __m256i products = _mm256_madd_epi16(w.mins, a.sums_of_16());
    return _mm_hadd_epi32(_mm256_castsi256_si128(products), _mm256_extracti128_si256(products, 1));
  }

  static float d_of(const std::byte* p) { return _cvtsh_ss(Block::d(p)) * Block::kFraction; }

  /// The sums of one row and token by lanes.
  struct Sums {
    __m256 acc = _mm256_setzero_ps();
    __m128 min_acc = _mm_setzero_ps();  // of one part: the same in all lanes

    void add(const Unpacked& w, const std::byte* p, const Token& a) {
      if constexpr (kHasMinima) {
        const __m256 scale = _mm256_set1_ps(-(_cvtsh_ss(Block::dmin(p)) * a.scale));
        if (Block::kMinParts == 8) {
          acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(_mm256_madd_epi16(w.mins, a.sums_of_16())), acc);
        } else {
          __m128i parts = minima(w, a);
          if (Block::kMinParts == 1) {
            parts = _mm_add_epi32(parts, _mm_shuffle_epi32(parts, 0x4e));
            parts = _mm_add_epi32(parts, _mm_shuffle_epi32(parts, 0xb1));
          }
          min_acc = _mm_fmadd_ps(_mm256_castps256_ps128(scale), _mm_cvtepi32_ps(parts), min_acc);
        }
      }
      acc = _mm256_fmadd_ps(_mm256_set1_ps(d_of(p) * a.scale), _mm256_cvtepi32_ps(lanes(w, a)), acc);
    }

    float total() const {
      if (Block::kMinParts == 0 || Block::kMinParts == 8) return sum_of(acc);
      if (Block::kMinParts == 1) return sum_of(acc) + _mm_cvtss_f32(min_acc);
      const __m128 half = _mm_add_ps(min_acc, _mm_movehl_ps(min_acc, min_acc));
      return sum_of(acc) + _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
  };

  static void fetch_ahead(const std::byte* block, int64_t bytes) {
    for (int64_t at = 0; at < Block::kBytes; at += 64) _mm_prefetch(block + bytes + at, _MM_HINT_T1);
  }

  /// Tokens t .. t + n, n <= kMost.
  template <int kMost>
  static void by_lanes(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const Q8KActivations& a, int64_t t,
                       int n, float* y, int64_t y_stride) {
    for (int64_t r = row_begin; r < row_end; ++r) {
      Sums sums[kMost];
      for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
        const std::byte* const p = block_at(w, r, b);
        const Unpacked block(p);
        if (kMost == 1) {
          fetch_ahead(p, 2 * w.code_stride);
          sums[0].add(block, p, Token(a, t, b));
        } else {
          for (int i = 0; i < n; ++i) sums[i].add(block, p, Token(a, t + i, b));
        }
      }
      for (int i = 0; i < (kMost == 1 ? 1 : n); ++i) y[i * y_stride + (r - row_begin)] = sums[i].total();
    }
  }

  /// v[i] of 8 lanes becomes the sum of its lanes in lane i.
  static __m256i sums_of_rows(const __m256i (&v)[kRows]) {
    const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  }
  static __m256i sums_of_rows(const __m128i (&v)[kRows]) {
    const auto four = [](__m128i a, __m128i b, __m128i c, __m128i d) {
      return _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
    };
    return _mm256_set_m128i(four(v[4], v[5], v[6], v[7]), four(v[0], v[1], v[2], v[3]));
  }

  /// F16 numbers of 8 blocks.
  static __m256 halves(uint16_t (*of)(const std::byte*), const std::byte* const (&p)[kRows]) {
    const auto at = [&](int i) { return static_cast<short>(of(p[i])); };
    return _mm256_cvtph_ps(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)));
  }
  static __m256 scales_of(const std::byte* const (&p)[kRows]) {
    return _mm256_mul_ps(halves(Block::d, p), _mm256_set1_ps(Block::kFraction));
  }
  static __m256 min_scales_of(const std::byte* const (&p)[kRows]) {
    if constexpr (kHasMinima) return halves(Block::dmin, p);
    return _mm256_setzero_ps();
  }
  /// The last of n rows stands in for those past it.
  struct Pointers {
    const std::byte* p[kRows];
    Pointers(const PackedMatrix& w, int64_t r, int n, int64_t b) {
      for (int i = 0; i < kRows; ++i) p[i] = block_at(w, r + (i < n ? i : n - 1), b);
    }
  };

  static void store(float* y, int n, __m256 v) {
    alignas(32) float all[kRows];
    _mm256_store_ps(all, v);
    for (int i = 0; i < n; ++i) y[i] = all[i];
  }

  /// Interleaved rows r .. r + n with steps of whole blocks.
  static void whole_blocks(const PackedMatrix& w, int64_t r, int n, const Q8KActivations& a, int64_t t, float* y) {
    __m256 acc = _mm256_setzero_ps(), min_acc = _mm256_setzero_ps();
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      const Token token(a, t, b);
      const Pointers rows(w, r, n, b);
      __m256i products[kRows];
      __m128i mins[kRows];
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        fetch_ahead(rows.p[i], kRows * w.code_stride);
        const Unpacked block(rows.p[i]);
        products[i] = lanes(block, token);
        if (kHasMinima) mins[i] = minima(block, token);
      }
      const __m256 scale = _mm256_set1_ps(token.scale);
      acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_of_rows(products)), _mm256_mul_ps(scales_of(rows.p), scale), acc);
      if (kHasMinima)
        min_acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_of_rows(mins)), _mm256_mul_ps(min_scales_of(rows.p), scale),
                                  min_acc);
    }
    store(y, n, kHasMinima ? _mm256_sub_ps(acc, min_acc) : acc);
  }

  /// One block of 8 rows: codes[k / 4] has weights k .. k + 3 of each row, scales and mins[j] those of the rows'
  /// weights 32 j .. 32 j + 31 as pairs of 16-bit numbers.
  struct Panel {
    __m256i codes[64], scales[8], mins[8];
    __m256 d, dmin;

    Panel(const PackedMatrix& w, int64_t r, int n, int64_t b) {
      const Pointers rows(w, r, n, b);
      __m256i v[8][kRows];
      for (int i = 0; i < kRows; ++i) {
        const Unpacked block(rows.p[i]);
        for (int j = 0; j < 8; ++j)
          v[j][i] = kOffset ? _mm256_xor_si256(block.codes[j], _mm256_set1_epi8(-128)) : block.codes[j];
        scales[i] = block.scales;
        if (kHasMinima) mins[i] = block.mins;
      }
      for (int j = 0; j < 8; ++j) {
        transpose8(v[j]);
        for (int k = 0; k < 8; ++k) codes[j * 8 + k] = v[j][k];
      }
      transpose8(scales);
      if (kHasMinima) transpose8(mins);
      d = scales_of(rows.p);
      dmin = min_scales_of(rows.p);
    }
  };

  static __m256i broadcast(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
  }

  static __m256i fours(__m256i sums, __m256i weights, const std::byte* codes) {
    return Block::kSigned && !kOffset ? Ops::fours_signed(sums, weights, broadcast(codes))
                                      : Ops::fours_unsigned(sums, weights, broadcast(codes));
  }

  struct Sums8 {
    __m256 acc = _mm256_setzero_ps(), min_acc = _mm256_setzero_ps();
  };

  /// One block of tokens t .. t + T.
  template <int T>
  static void add_block(const Panel& w, const Q8KActivations& a, int64_t t, int64_t b, int step, Sums8* sums) {
    for (int begin = 0; begin < 8; begin += step / 32) {
      __m256i sum[T], taken[T];
      for (int i = 0; i < T; ++i) sum[i] = taken[i] = _mm256_setzero_si256();
      for (int j = begin; j < begin + step / 32; ++j) {
        const __m256i low = _mm256_srai_epi32(_mm256_slli_epi32(w.scales[j], 16), 16);
        const __m256i high = _mm256_srai_epi32(w.scales[j], 16);
        __m256i first[T], second[T];
        for (int i = 0; i < T; ++i) first[i] = second[i] = _mm256_setzero_si256();
        for (int k = 0; k < 8; ++k)
          for (int i = 0; i < T; ++i) {
            __m256i& part = k < 4 || Block::kWide ? first[i] : second[i];
            part = fours(part, w.codes[j * 8 + k], a.codes(t + i) + b * kQ8KBlock + j * 32 + k * 4);
          }
        for (int i = 0; i < T; ++i) {
          sum[i] = _mm256_add_epi32(sum[i], _mm256_mullo_epi32(first[i], low));
          if (!Block::kWide) sum[i] = _mm256_add_epi32(sum[i], _mm256_mullo_epi32(second[i], high));
          if (kHasMinima || kOffset)
            taken[i] = Ops::scaled(taken[i], kOffset ? w.scales[j] : w.mins[j],
                                   broadcast(a.sums(t + i) + b * (kQ8KBlock / kQ8KSum) + 2 * j));
        }
      }
      for (int i = 0; i < T; ++i) {
        const __m256 scale = _mm256_set1_ps(a.scales(t + i)[b]);
        if (kOffset) sum[i] = _mm256_sub_epi32(sum[i], _mm256_slli_epi32(taken[i], 7));
        sums[i].acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i]), _mm256_mul_ps(w.d, scale), sums[i].acc);
        if (kHasMinima)
          sums[i].min_acc =
              _mm256_fmadd_ps(_mm256_cvtepi32_ps(taken[i]), _mm256_mul_ps(w.dmin, scale), sums[i].min_acc);
      }
    }
  }

  /// Interleaved rows r .. r + n of tokens t .. t + tokens, tokens <= kTokens.
  static void panel(const PackedMatrix& w, int64_t r, int n, const Q8KActivations& a, int64_t t, int tokens, int step,
                    float* y, int64_t y_stride) {
    Sums8 sums[kTokens];
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      const Panel block(w, r, n, b);
      int i = 0;
      for (; i + 4 <= tokens; i += 4) add_block<4>(block, a, t + i, b, step, sums + i);
      for (; i < tokens; ++i) add_block<1>(block, a, t + i, b, step, sums + i);
    }
    for (int i = 0; i < tokens; ++i)
      store(y + i * y_stride, n, kHasMinima ? _mm256_sub_ps(sums[i].acc, sums[i].min_acc) : sums[i].acc);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const Q8KActivations a(w, activations);
    for (int64_t t = 0; t < tokens;) {
      const int step = Block::step(w, t, tokens);
      int n = 1;  // tokens that are multiplied alike
      while (n < kTokens && t + n < tokens && Block::step(w, t + n, tokens) == step) ++n;
      float* const out = y + t * y_stride;
      if (step == 0) {
        (n == 1 ? by_lanes<1> : by_lanes<kTokens>)(w, row_begin, row_end, a, t, n, out, y_stride);
      } else {
        for (int64_t r = row_begin; r < row_end; r += kRows) {
          const int rows = static_cast<int>(row_end - r < kRows ? row_end - r : kRows);
          if (n >= 4) {
            panel(w, r, rows, a, t, n, step, out + (r - row_begin), y_stride);
            continue;
          }
          for (int i = 0; i < n; ++i) whole_blocks(w, r, rows, a, t + i, out + i * y_stride + (r - row_begin));
        }
      }
      t += n;
    }
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      const std::byte* const p = block_at(w, row, b);
      const Unpacked block(p);
      alignas(32) int16_t scales[16], mins[16];
      alignas(32) int8_t codes[kQ8KBlock];
      _mm256_store_si256(reinterpret_cast<__m256i*>(scales), Block::kScaled ? block.scales : _mm256_set1_epi16(1));
      if (kHasMinima) _mm256_store_si256(reinterpret_cast<__m256i*>(mins), block.mins);
      for (int j = 0; j < 8; ++j) _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 32 * j), block.codes[j]);
      for (int k = 0; k < kQ8KBlock; k += 8) {
        const __m256i u = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + k)));
        const __m256 q = _mm256_cvtepi32_ps(_mm256_sub_epi32(u, _mm256_set1_epi32(Block::kZero)));
        __m256 v = _mm256_mul_ps(_mm256_set1_ps(d_of(p) * static_cast<float>(scales[k / 16])), q);
        if constexpr (kHasMinima)
          v = _mm256_sub_ps(v, _mm256_set1_ps(_cvtsh_ss(Block::dmin(p)) * static_cast<float>(mins[k / 16])));
        _mm256_storeu_ps(out + b * kQ8KBlock + k, v);
      }
    }
  }
};

template <class Block, class Ops>
constexpr PackedGemm q8_k_gemm(std::string_view format) {
  using Gemm = Q8KGemm<Block, Ops>;
  return {.format = format,
          .isa = Ops::kIsa,
          .activation_bytes = q8_k_activation_bytes,
          .round_activations = round_to_q8_k,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = q8_k_activation_values};
}

}  // namespace
}  // namespace kerf
