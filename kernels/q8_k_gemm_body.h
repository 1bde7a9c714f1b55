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

#include "kernels/q8_k_activations_avx2.h"
#include "kernels/q8_k_blocks_avx2.h"

namespace kerf {
namespace {

template <class Block, class Ops>
struct Q8KGemm {
  static constexpr int kTokens = 16, kRows = 8;
  static constexpr bool kHasMinima = Block::kMinParts != 0;

  /// A block, with the scales of its codes[j] beside them: those of the first 16 weights in the lower half.
  struct Unpacked : KCodes {
    __m256i spread[8];
    explicit Unpacked(const std::byte* p) {
      Block::unpack(p, *this);
      const __m256i first = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 2,
                                             3, 2, 3, 2, 3, 2, 3);
      const __m256i low = _mm256_permute4x64_epi64(scales, 0x44), high = _mm256_permute4x64_epi64(scales, 0xee);
      for (int i = 0; i < 4; ++i) {
        const __m256i index = _mm256_add_epi8(first, _mm256_set1_epi8(static_cast<char>(4 * i)));
        spread[i] = _mm256_shuffle_epi8(low, index);
        spread[i + 4] = _mm256_shuffle_epi8(high, index);
      }
    }
  };

  /// One block of a token.
  struct Token {
    const std::byte* codes;
    const int16_t* sums;
    float scale;
    Token(const Q8KActivations& a, int64_t t, int64_t b)
        : codes(a.codes(t) + b * kQ8KBlock), sums(a.sums(t) + b * (kQ8KBlock / kQ8KSum)), scale(a.scales(t)[b]) {}
    __m256i sums_of_16() const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)); }
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
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {
      even = Ops::scaled(even, pairs(w.codes[j], bytes_at(a.codes + j * 32)), w.spread[j]);
      odd = Ops::scaled(odd, pairs(w.codes[j + 1], bytes_at(a.codes + j * 32 + 32)), w.spread[j + 1]);
    }
    const __m256i sum = _mm256_add_epi32(even, odd);
    if (Block::kZero == 0) return sum;
    const __m256i taken = _mm256_madd_epi16(a.sums_of_16(), w.scales);
    return _mm256_sub_epi32(sum, _mm256_mullo_epi32(taken, _mm256_set1_epi32(Block::kZero)));
  }

  /// Of pairs of 16 weights.
  static __m256i minima(const Unpacked& w, const Token& a) { return _mm256_madd_epi16(w.mins, a.sums_of_16()); }

  static __m128i added_in_pairs(__m256i v) {
    return _mm_hadd_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  }

  /// The sums of one row and token by lanes.
  struct Sums {
    __m256 acc = _mm256_setzero_ps();
    __m128 min_acc = _mm_setzero_ps();  // of one part: the same in all lanes

    void add(const Unpacked& w, const Token& a) {
      if (kHasMinima) {
        const __m256i products = minima(w, a);
        const __m256 scale = _mm256_set1_ps(-(w.dmin * a.scale));
        if (Block::kMinParts == 8) acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products), acc);
        __m128i parts = added_in_pairs(products);
        if (Block::kMinParts == 1) {
          parts = _mm_hadd_epi32(parts, parts);
          parts = _mm_hadd_epi32(parts, parts);
        }
        if (Block::kMinParts < 8)
          min_acc = _mm_fmadd_ps(_mm256_castps256_ps128(scale), _mm_cvtepi32_ps(parts), min_acc);
      }
      acc = _mm256_fmadd_ps(_mm256_set1_ps(w.d * a.scale), _mm256_cvtepi32_ps(lanes(w, a)), acc);
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
        if (kMost == 1) fetch_ahead(block_at(w, r, b), 2 * w.code_stride);
        const Unpacked block(block_at(w, r, b));
        if (kMost == 1) {
          sums[0].add(block, Token(a, t, b));
          continue;
        }
        for (int i = 0; i < n; ++i) sums[i].add(block, Token(a, t + i, b));
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
      __m256i products[kRows], mins[kRows];
      alignas(32) float d[kRows], dmin[kRows];
      for (int i = 0; i < kRows; ++i) {
        const std::byte* p = block_at(w, r + (i < n ? i : n - 1), b);
        fetch_ahead(p, kRows * w.code_stride);
        const Unpacked block(p);
        products[i] = lanes(block, token);
        d[i] = block.d;
        if (!kHasMinima) continue;
        mins[i] = minima(block, token);
        dmin[i] = block.dmin;
      }
      const __m256 scale = _mm256_set1_ps(token.scale);
      acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_of_rows(products)), _mm256_mul_ps(_mm256_load_ps(d), scale), acc);
      if (kHasMinima)
        min_acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_of_rows(mins)), _mm256_mul_ps(_mm256_load_ps(dmin), scale),
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
      alignas(32) float all_d[kRows], all_dmin[kRows] = {};
      __m256i v[8][kRows];
      for (int i = 0; i < kRows; ++i) {
        KCodes block;
        Block::unpack(block_at(w, r + (i < n ? i : n - 1), b), block);
        for (int j = 0; j < 8; ++j) v[j][i] = block.codes[j];
        scales[i] = block.scales;
        all_d[i] = block.d;
        if (!kHasMinima) continue;
        mins[i] = block.mins;
        all_dmin[i] = block.dmin;
      }
      for (int j = 0; j < 8; ++j) {
        transpose8(v[j]);
        for (int k = 0; k < 8; ++k) codes[j * 8 + k] = v[j][k];
      }
      transpose8(scales);
      if (kHasMinima) transpose8(mins);
      d = _mm256_load_ps(all_d);
      dmin = _mm256_load_ps(all_dmin);
    }
  };

  static __m256i broadcast(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
  }

  static __m256i fours(__m256i sums, __m256i weights, const std::byte* codes) {
    return Block::kSigned ? Ops::fours_signed(sums, weights, broadcast(codes))
                          : Ops::fours_unsigned(sums, weights, broadcast(codes));
  }

  /// Adds one block of `step` weights at a time to acc and min_acc.
  static void add_steps(const Panel& w, const Token& a, int step, __m256& acc, __m256& min_acc) {
    const __m256 token_scale = _mm256_set1_ps(a.scale);
    const __m256 scale = _mm256_mul_ps(w.d, token_scale), min_scale = _mm256_mul_ps(w.dmin, token_scale);
    for (int begin = 0; begin < 8; begin += step / 32) {
      __m256i sum = _mm256_setzero_si256(), min_sum = _mm256_setzero_si256();
      for (int j = begin; j < begin + step / 32; ++j) {
        __m256i first = _mm256_setzero_si256(), second = _mm256_setzero_si256();
        for (int k = 0; k < 4; ++k) {
          first = fours(first, w.codes[j * 8 + k], a.codes + j * 32 + k * 4);
          second = fours(second, w.codes[j * 8 + 4 + k], a.codes + j * 32 + 16 + k * 4);
        }
        const __m256i low = _mm256_srai_epi32(_mm256_slli_epi32(w.scales[j], 16), 16);
        const __m256i high = _mm256_srai_epi32(w.scales[j], 16);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_mullo_epi32(first, low), _mm256_mullo_epi32(second, high)));
        if (kHasMinima) min_sum = Ops::scaled(min_sum, w.mins[j], broadcast(a.sums + 2 * j));
      }
      acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc);
      if (kHasMinima) min_acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(min_sum), min_scale, min_acc);
    }
  }

  /// Interleaved rows r .. r + n of tokens t .. t + tokens, tokens <= kTokens.
  static void panel(const PackedMatrix& w, int64_t r, int n, const Q8KActivations& a, int64_t t, int tokens, int step,
                    float* y, int64_t y_stride) {
    __m256 acc[kTokens], min_acc[kTokens];
    for (int i = 0; i < tokens; ++i) acc[i] = min_acc[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      const Panel block(w, r, n, b);
      for (int i = 0; i < tokens; ++i) add_steps(block, Token(a, t + i, b), step, acc[i], min_acc[i]);
    }
    for (int i = 0; i < tokens; ++i)
      store(y + i * y_stride, n, kHasMinima ? _mm256_sub_ps(acc[i], min_acc[i]) : acc[i]);
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
      KCodes block;
      Block::unpack(block_at(w, row, b), block);
      alignas(32) int16_t scales[16], mins[16];
      alignas(32) int8_t codes[kQ8KBlock];
      _mm256_store_si256(reinterpret_cast<__m256i*>(scales), block.scales);
      if (kHasMinima) _mm256_store_si256(reinterpret_cast<__m256i*>(mins), block.mins);
      for (int j = 0; j < 8; ++j) _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 32 * j), block.codes[j]);
      for (int k = 0; k < kQ8KBlock; k += 8) {
        const __m256i u = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + k)));
        const __m256 q = _mm256_cvtepi32_ps(_mm256_sub_epi32(u, _mm256_set1_epi32(Block::kZero)));
        __m256 v = _mm256_mul_ps(_mm256_set1_ps(block.d * static_cast<float>(scales[k / 16])), q);
        if (kHasMinima) v = _mm256_sub_ps(v, _mm256_set1_ps(block.dmin * static_cast<float>(mins[k / 16])));
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
