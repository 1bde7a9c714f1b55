// The GGUF types of 256 weights whose activations are rounded to Q8_K: what their blocks hold, and in which order
// llama.cpp's x86 code adds up products with them (q8_k_gemm_ref.h says each order). The reference and the kernels for
// instruction sets build on the same facts; each has its own way of reading a block.
// Source: llama.cpp, ggml-common.h (blocks), ggml-cpu/repack.cpp and iqp.cpp (which are interleaved, and when).
#pragma once

#include "core/cpu.h"
#include "kernels/gemm.h"

namespace kerf {

/// kZero: codes are u = q + kZero, taken off again by way of the sums of 16 activations. kMinParts: parts of a block
/// whose minima are added up apart, 0 when there are none.
template <int64_t kBytes_, int kZero_ = 0, int kMinParts_ = 0>
struct Q8KNumbers {
  static constexpr int64_t kBytes = kBytes_;
  static constexpr int kZero = kZero_, kMinParts = kMinParts_;
  static constexpr float kFraction = 1;  // of the stored number, a power of two, is d
  /// Weights of an interleaved step for token t of a call with `tokens`; 0 for products by lanes.
  static int step(const PackedMatrix&, int64_t, int64_t) { return 0; }
};

/// Of types that llama.cpp interleaves at loading: a step of kBatch for every whole four of the tokens, else of 256.
template <int kBatch>
inline int step_of_interleaved(int64_t t, int64_t tokens) {
  return t < tokens / 4 * 4 ? kBatch : 256;
}

struct Q2_KType : Q8KNumbers<84, 0, 8> {
  static int step(const PackedMatrix& w, int64_t t, int64_t tokens) {
    return w.rows % 8 == 0 && cpu_isa() >= Isa::avx512 ? step_of_interleaved<128>(t, tokens) : 0;
  }
};
struct Q3_KType : Q8KNumbers<110> {};
struct Q4_KType : Q8KNumbers<144, 0, 4> {
  // On every x86 CPU with AVX2 and without AMX.
  static int step(const PackedMatrix& w, int64_t t, int64_t tokens) {
    return w.rows % 8 == 0 ? step_of_interleaved<64>(t, tokens) : 0;
  }
};
struct Q5_KType : Q8KNumbers<176, 0, 1> {};
struct Q6_KType : Q8KNumbers<210, 32> {};
struct TQ1_0Type : Q8KNumbers<54, 1> {};
struct TQ2_0Type : Q8KNumbers<66, 1> {};

/// IQ types have no interleaved form in memory; 8 rows are unpacked at a time for batches of 8 and more tokens.
template <int64_t kBytes, int kDivisor = 1>
struct IqNumbers : Q8KNumbers<kBytes> {
  static constexpr float kFraction = 1.0f / kDivisor;
  static int step(const PackedMatrix& w, int64_t, int64_t tokens) { return w.rows % 8 == 0 && tokens >= 8 ? 256 : 0; }
};
struct IQ1_MType : IqNumbers<56, 8> {};
struct IQ1_SType : IqNumbers<50, 8> {};
struct IQ2_SType : IqNumbers<82, 8> {};
struct IQ2_XSType : IqNumbers<74, 8> {};
struct IQ2_XXSType : IqNumbers<66, 8> {};
struct IQ3_SType : IqNumbers<110> {};
struct IQ3_XXSType : IqNumbers<98, 4> {};
struct IQ4_XSType : IqNumbers<136> {};

}  // namespace kerf
