// The definition of products with the GGUF types of q8_types.h, down to the order of float32 sums, which is
// llama.cpp's: rounding the next activations is so sensitive to a last bit that a run with other sums ends as far from
// llama.cpp's as one without any rounding of activations.
//
// Per 32 weights (a chunk), in order, with s = d_w * d_a (exact in float32: at most 11 + 11 bits), integer sums, and
// fma rounding once:
//   lanes          acc[l] = fma(s, float32(sum of q_w q_a over k = 4 l .. 4 l + 3), acc[l]) for l = 0 .. 7;
//                  y = the sum of acc by halves: a[i] = acc[i] + acc[i + 4], b[i] = a[i] + a[i + 2], y = b[0] + b[1].
//                  Then offsets, where the type has them: y + o with o = fma(m_w, s_a, o), chunks in order (Q8_1)
//   blocks         acc = fma(float32(sum of q_w q_a over the chunk), s, acc); y = acc
//   paired_lanes   as lanes, with acc of the even chunks and acc of the odd ones added up lane by lane; an odd chunk
//                  that is left over comes last: y = fma(s, float32(its sum), y)
//   nested_lanes   for each block of 128: t[l] = fma(d_a, float32(sum), t[l]) over its chunks (the first a product);
//                  acc[l] = fma(d_w, t[l], acc[l]); y by halves
//   nested_blocks  for each block of 64: t = fma(d_a, float32(sum of the chunk), t); y = fma(d_w, t, y)
// Q8_0, Q5_0, and IQ4_NL and Q4_0 of odd shape go by lanes (ggml-cpu/llamafile/sgemm.cpp, tinyBLAS_Q0_AVX), as do
// Q4_1, Q5_1 and NVFP4 (arch/x86/quants.c, vec_dot, from where the orders of Q1_0 and MXFP4 are, too; Q2_0's is that of
// the plain loop in ggml-cpu/quants.c). Q4_0, IQ4_NL and MXFP4 go by blocks when the matrix has a multiple of 8 rows,
// since llama.cpp then interleaves 8 of them at loading (repack.cpp, ..._8x8). So it is on every x86 CPU with AVX2 and
// without AMX, for two tokens and more. A row of weights dequantizes to float32(q_w * d_w), plus m_w in another
// rounding.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/gguf/gguf_bits.h"
#include "kernels/gguf/q8_activations.h"

namespace kerf {

/// d_w of types whose blocks begin with their one F16 scale.
struct HalfScaleFirst {
  static float scale(const std::byte* block, int64_t) { return half_at(block); }
};

/// Block is one of q8_types.h and has besides `static int code(const std::byte* block, int64_t k)`, the q of weight k,
/// `static float scale(const std::byte* block, int64_t k)`, its d_w, and with kSums `static float offset(block)`.
template <class Block>
struct Q8GemmRef {
  static constexpr int kLanes = 8, kPerLane = kQ8Block / kLanes;
  static constexpr int64_t kChunks = Block::kWeights / kQ8Block;

  static int64_t activation_bytes(const PackedMatrix& w) {
    return q8_activation_bytes(w, Block::kWeights, Block::kExtraWords);
  }
  static void round(const PackedMatrix& w, const float* x, std::byte* out) {
    round_to_q8_ref(w.cols, Block::kZeroPoint, Block::kCorrections, Block::kSums, x, out);
  }

  static float by_halves(float (&acc)[kLanes]) {
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) acc[i] += acc[i + half];
    return acc[0];
  }

  /// Chunk c of a row of weights and of a row of activations.
  struct Chunk {
    const std::byte* block;
    int64_t first;  // weight of the block
    const std::byte* codes;
    float scale, sum;  // of the activations

    Chunk(const PackedMatrix& w, int64_t row, const std::byte* a, int64_t c)
        : block(w.codes + row * w.code_stride + c / kChunks * Block::kBytes),
          first(c % kChunks * kQ8Block),
          codes(a + c * kQ8Block) {
      std::memcpy(&scale, a + w.cols + c * 4, 4);
      if (Block::kSums) std::memcpy(&sum, a + w.cols + (w.cols / kQ8Block + c) * 4, 4);
    }
    float product(int64_t begin, int64_t end) const {
      int32_t total = 0;
      for (int64_t k = begin; k < end; ++k) total += Block::code(block, first + k) * static_cast<int8_t>(codes[k]);
      return static_cast<float>(total);
    }
    float product() const { return product(0, kQ8Block); }
    float product_of_lane(int l) const { return product(l * kPerLane, (l + 1) * kPerLane); }
    float weight_scale(int64_t k = 0) const { return Block::scale(block, first + k); }
  };

  static float dot(const PackedMatrix& w, int64_t row, const std::byte* a) {
    const Q8Order order = Block::order(w.rows);
    const int64_t chunks = w.cols / kQ8Block;
    float acc[2][kLanes] = {}, offsets = 0, sum = 0, t[kLanes] = {};
    const int64_t paired = order == Q8Order::paired_lanes ? chunks / 2 * 2 : chunks;
    for (int64_t c = 0; c < paired; ++c) {
      const Chunk chunk(w, row, a, c);
      if constexpr (Block::kSums) offsets = std::fma(Block::offset(chunk.block), chunk.sum, offsets);
      if (order == Q8Order::blocks) {
        sum = std::fma(chunk.product(), chunk.weight_scale() * chunk.scale, sum);
      } else if (order == Q8Order::nested_blocks) {
        t[0] = std::fma(chunk.scale, chunk.product(), c % kChunks == 0 ? 0.0f : t[0]);
        if (c % kChunks == kChunks - 1) sum = std::fma(chunk.weight_scale(), t[0], sum);
      } else if (order == Q8Order::nested_lanes) {
        for (int l = 0; l < kLanes; ++l) {
          const float p = chunk.product_of_lane(l);
          t[l] = c % kChunks == 0 ? chunk.scale * p : std::fma(chunk.scale, p, t[l]);
          if (c % kChunks == kChunks - 1) acc[0][l] = std::fma(chunk.weight_scale(), t[l], acc[0][l]);
        }
      } else {
        float* into = acc[order == Q8Order::paired_lanes ? c % 2 : 0];
        for (int l = 0; l < kLanes; ++l)
          into[l] = std::fma(chunk.weight_scale(l * kPerLane) * chunk.scale, chunk.product_of_lane(l), into[l]);
      }
    }
    if (order == Q8Order::blocks || order == Q8Order::nested_blocks) return sum;
    if (order == Q8Order::paired_lanes)
      for (int l = 0; l < kLanes; ++l) acc[0][l] += acc[1][l];
    const float y = by_halves(acc[0]);
    if (paired == chunks) return Block::kSums ? y + offsets : y;
    const Chunk last(w, row, a, paired);
    return std::fma(last.weight_scale() * last.scale, last.product(), y);
  }

  static void multiply(const PackedMatrix& w, int64_t row_begin, int64_t row_end, const std::byte* activations,
                       int64_t tokens, float* y, int64_t y_stride) {
    const int64_t row_bytes = activation_bytes(w);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = row_begin; r < row_end; ++r)
        y[t * y_stride + (r - row_begin)] = dot(w, r, activations + t * row_bytes);
  }

  static void dequantize(const PackedMatrix& w, int64_t row, float* out) {
    for (int64_t k = 0; k < w.cols; ++k) {
      const std::byte* block = w.codes + row * w.code_stride + k / Block::kWeights * Block::kBytes;
      const int64_t in_block = k % Block::kWeights;
      out[k] = static_cast<float>(Block::code(block, in_block)) * Block::scale(block, in_block);
      if constexpr (Block::kSums) out[k] += Block::offset(block);
    }
  }
};

template <class Block>
constexpr PackedGemm q8_gemm_ref(std::string_view format) {
  using Gemm = Q8GemmRef<Block>;
  return {.format = format,
          .isa = Isa::ref,
          .activation_bytes = Gemm::activation_bytes,
          .round_activations = Gemm::round,
          .multiply = Gemm::multiply,
          .dequantize = Gemm::dequantize,
          .activation_values = q8_activation_values};
}

}  // namespace kerf
