// The GGUF types whose activations are rounded to 8-bit blocks of 32: what their blocks hold and in which order
// llama.cpp's x86 code adds up products with them (q8_gemm_ref.h says each order). The reference and the kernels for
// instruction sets build on the same facts; each has its own way of reading a block.
// Source: llama.cpp, ggml-common.h (blocks), ggml-cpu/repack.cpp (which are interleaved), llamafile/sgemm.cpp and
// arch/x86/quants.c (orders).
#pragma once

#include <cstdint>

namespace kerf {

enum class Q8Order {
  lanes,          // eight sums, each of four codes of every block
  blocks,         // one sum, block after block
  paired_lanes,   // eight sums of the even and eight of the odd blocks
  nested_lanes,   // eight sums of 128 weights, scaled together
  nested_blocks,  // one sum of 64 weights, scaled together
};

/// A type's numbers. kZeroPoint: fast kernels read codes q as unsigned numbers q + kZeroPoint. kCorrections and kSums:
/// what is stored beside the codes and the scale of 32 activations (q8_activations.h).
template <int64_t kWeights_, int64_t kBytes_, int kZeroPoint_ = 0, int kCorrections_ = 0, bool kSums_ = false>
struct Q8Numbers {
  static constexpr int64_t kWeights = kWeights_, kBytes = kBytes_;  // of one block
  static constexpr int kZeroPoint = kZeroPoint_, kCorrections = kCorrections_;
  static constexpr bool kSums = kSums_;  // the type has offsets: a weight is scale * q + offset
  static constexpr int kExtraWords = kCorrections + (kSums ? 1 : 0);
};

/// Matrices of a multiple of 8 rows are interleaved at loading.
constexpr Q8Order interleaved_or(Q8Order otherwise, int64_t rows) {
  return rows % 8 == 0 ? Q8Order::blocks : otherwise;
}

struct Q8_0Type : Q8Numbers<32, 34, 128, 8> {
  static constexpr Q8Order order(int64_t) { return Q8Order::lanes; }
};
struct Q4_0Type : Q8Numbers<32, 18, 8, 1> {
  static constexpr Q8Order order(int64_t rows) { return interleaved_or(Q8Order::lanes, rows); }
};
struct Q4_1Type : Q8Numbers<32, 20, 0, 0, true> {
  static constexpr Q8Order order(int64_t) { return Q8Order::lanes; }
};
struct Q5_0Type : Q8Numbers<32, 22, 16, 8> {
  static constexpr Q8Order order(int64_t) { return Q8Order::lanes; }
};
struct Q5_1Type : Q8Numbers<32, 24, 0, 0, true> {
  static constexpr Q8Order order(int64_t) { return Q8Order::lanes; }
};
struct IQ4_NLType : Q8Numbers<32, 18, 128, 1> {
  static constexpr Q8Order order(int64_t rows) { return interleaved_or(Q8Order::lanes, rows); }
};
struct MXFP4Type : Q8Numbers<32, 17, 12, 1> {
  static constexpr Q8Order order(int64_t rows) { return interleaved_or(Q8Order::paired_lanes, rows); }
};
struct NVFP4Type : Q8Numbers<64, 36> {
  static constexpr Q8Order order(int64_t) { return Q8Order::lanes; }
};
struct Q1_0Type : Q8Numbers<128, 18> {
  static constexpr Q8Order order(int64_t) { return Q8Order::nested_lanes; }
};
struct Q2_0Type : Q8Numbers<64, 18> {
  static constexpr Q8Order order(int64_t) { return Q8Order::nested_blocks; }
};

/// The 16 numbers of IQ4_NL and IQ4_XS codes.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// Twice the 16 numbers of e2m1; scales are halved instead.
constexpr int8_t kFp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace kerf
