// The definition of products with GGUF blocks of 256 weights whose activations are rounded to Q8_K
// (q8_k_activations.h), down to the order of float32 sums, which is llama.cpp's (q8_gemm_ref.h says why).
//
// A weight is w = d * scale * (u - zero) - dmin * min: d and dmin are F16 and belong to the block, scale and min are
// small integers that belong to 16 weights (in some types to 32), u is the code as kernels multiply it. It dequantizes
// to float32(float32(float32(d * scale) * (u - zero)) - float32(dmin * min)).
//
// In a product a[k] are the token's codes, s[j] its sums of 16 of them and d_a its scale; D = float32(d * d_a) and
// M = float32(dmin * d_a). Blocks follow each other in order, integer sums are exact, fma rounds once:
//   by lanes      acc[l] = fma(D, float32(L), acc[l]), l = 0 .. 7, where L = the sum of scale u a over the k of the
//   block
//                 with k % 32 / 4 = l, minus zero times the sum of scale[j] s[j] over j = 2 l, 2 l + 1;
//                 min_acc[i] = fma(-M, float32(the sum of min[j] s[j] over the i-th of n parts of the block),
//                 min_acc[i]), with n = 8, 4 or 1 parts; eight min_acc are the acc themselves, and their fma comes
//                 first. y = the sum of acc by halves (a[i] = acc[i] + acc[i + 4], b[i] = a[i] + a[i + 2], b[0] + b[1])
//                 + the sum of min_acc by halves, unless they are acc
//                 (ggml-cpu/arch/x86/quants.c, the AVX2 code of ggml_vec_dot_*_q8_K, fused as its compilers do)
//   interleaved   for steps of 256 weights, or of fewer: acc = fma(float32(the step's sum of scale u a), D, acc),
//                 min_acc = fma(float32(the step's sum of min s), M, min_acc); y = acc - min_acc, or acc without minima
//                 (ggml-cpu/repack.cpp, arch/x86/repack.cpp and, for IQ types, iqp.cpp, all for multiples of 8 rows)
// Which it is, and the step, may depend on the tokens of the call: llama.cpp has other code for few of them, and for
// those that are left over from a multiple of four.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/gguf/gguf_bits.h"
#include "kernels/gguf/q8_k_activations.h"
#include "kernels/gguf/q8_k_types.h"

namespace kerf {

/// A block in plain numbers; scales and mins of 16 weights each.
struct KBlock {
  float d = 0, dmin = 0;
  int scales[16] = {}, mins[16] = {};
  int codes[kQ8KBlock] = {};
};

/// Q4_K and Q5_K: 12 bytes hold 8 scales and 8 minima of 32 weights each, of 6 bits. Those of the first four parts lie
/// in the low 6 bits of bytes 0-3 and 4-7; of the others the low 4 bits share bytes 8-11 (the minimum has the high
/// nibble), and the high 2 bits are the top of the byte in which their counterpart four parts earlier lies.
inline void unpack_six_bit_scales(const std::byte* packed, KBlock& block) {
  const auto at = [packed](int i) { return std::to_integer<int>(packed[i]); };
  for (int j = 0; j < 16; ++j) {
    const int part = j / 2;
    block.scales[j] = part < 4 ? at(part) & 63 : (at(part + 4) & 15) | at(part - 4) >> 6 << 4;
    block.mins[j] = part < 4 ? at(part + 4) & 63 : at(part + 4) >> 4 | at(part) >> 6 << 4;
  }
}

/// Type: one of q8_k_types.h, with `static void unpack(const std::byte*, KBlock&)`.
template <class Type>
struct Q8KGemmRef {
  struct Activations {
    const std::byte* codes;
    const std::byte* sums;
    float scale;
    int code(int k) const { return static_cast<int8_t>(codes[k]); }
    int sum(int j) const {
      int16_t s;
      std::memcpy(&s, sums + j * 2, 2);
      return s;
    }
  };

  static Activations block_of(const PackedMatrix& w, const std::byte* row, int64_t b) {
    const int64_t blocks = w.cols / kQ8KBlock;
    Activations a{.codes = row + b * kQ8KBlock, .sums = row + w.cols + blocks * 4 + b * 32, .scale = 0};
    std::memcpy(&a.scale, row + w.cols + b * 4, 4);
    return a;
  }

  static const std::byte* block_of(const PackedMatrix& w, int64_t row, int64_t b) {
    return w.codes + row * w.code_stride + b * Type::kBytes;
  }

  /// Of parts begin .. end - 1, of 16 weights each.
  static float sum_of_minima(const KBlock& w, const Activations& a, int begin, int end) {
    int32_t sum = 0;
    for (int j = begin; j < end; ++j) sum += w.mins[j] * a.sum(j);
    return static_cast<float>(sum);
  }

  static float by_halves(float* acc, int n) {
    for (int half = n / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) acc[i] += acc[i + half];
    return acc[0];
  }

  static float dot_by_lanes(const PackedMatrix& w, int64_t row, const std::byte* activations) {
    constexpr int kLanes = 8, kParts = Type::kMinParts, kPart = kParts == 0 ? 0 : 16 / kParts;
    float acc[kLanes] = {}, apart[kLanes] = {};
    float* const min_acc = kParts == kLanes ? acc : apart;
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      KBlock block;
      Type::unpack(block_of(w, row, b), block);
      const Activations a = block_of(w, activations, b);
      const float scale = block.d * a.scale, min_scale = block.dmin * a.scale;
      for (int i = 0; i < kParts; ++i)
        min_acc[i] = std::fma(-min_scale, sum_of_minima(block, a, i * kPart, (i + 1) * kPart), min_acc[i]);
      int32_t sums[kLanes] = {};
      for (int k = 0; k < kQ8KBlock; ++k) sums[k % 32 / 4] += block.scales[k / 16] * block.codes[k] * a.code(k);
      for (int j = 0; j < 16; ++j) sums[j / 2] -= Type::kZero * block.scales[j] * a.sum(j);
      for (int l = 0; l < kLanes; ++l) acc[l] = std::fma(scale, static_cast<float>(sums[l]), acc[l]);
    }
    const float sum = by_halves(acc, kLanes);
    return kParts == 0 || kParts == kLanes ? sum : sum + by_halves(apart, kParts);
  }

  static float dot_interleaved(const PackedMatrix& w, int64_t row, const std::byte* activations, int step) {
    float acc = 0, min_acc = 0;
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      KBlock block;
      Type::unpack(block_of(w, row, b), block);
      const Activations a = block_of(w, activations, b);
      for (int begin = 0; begin < kQ8KBlock; begin += step) {
        int32_t sum = 0;
        for (int k = begin; k < begin + step; ++k) sum += block.scales[k / 16] * block.codes[k] * a.code(k);
        acc = std::fma(static_cast<float>(sum), block.d * a.scale, acc);
        min_acc = std::fma(sum_of_minima(block, a, begin / 16, (begin + step) / 16), block.dmin * a.scale, min_acc);
      }
    }
    return Type::kMinParts == 0 ? acc : acc - min_acc;
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const int64_t row_bytes = q8_k_activation_bytes(w);
    for (int64_t t = 0; t < tokens; ++t) {
      const std::byte* a = activations + t * row_bytes;
      const int step = Type::step(w, t, tokens);
      for (int64_t r = row_begin; r < row_end; ++r)
        y[t * y_stride + (r - row_begin)] = step ? dot_interleaved(w, r, a, step) : dot_by_lanes(w, r, a);
    }
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t b = 0; b < w.cols / kQ8KBlock; ++b) {
      KBlock block;
      Type::unpack(block_of(w, row, b), block);
      for (int k = 0; k < kQ8KBlock; ++k) {
        const float scale = block.d * static_cast<float>(block.scales[k / 16]);
        const float min = block.dmin * static_cast<float>(block.mins[k / 16]);
        out[b * kQ8KBlock + k] = scale * static_cast<float>(block.codes[k] - Type::kZero) - min;
      }
    }
  }
};

template <class Type>
constexpr PackedGemm q8_k_gemm_ref(std::string_view format) {
  using Gemm = Q8KGemmRef<Type>;
  return {.format = format,
          .isa = Isa::ref,
          .activation_bytes = q8_k_activation_bytes,
          .round_activations = round_to_q8_k_ref,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = q8_k_activation_values};
}

}  // namespace kerf
