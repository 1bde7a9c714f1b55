// Dense products, through oneDNN. Each is cut into panels of fixed size that run on kerf's threads, every panel on one
// thread, so that results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace kerf {

/// y[t, r] = sum over k of x[t, k] * w[r, k]:  x is [tokens, in], w is [out, in], y is [tokens, out], all row-major
/// with the given distance between rows (in floats).
void matmul_nt(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
               int64_t w_stride, float* y, int64_t y_stride);

/// Whether bf16 products with float32 sums are faster here than float32 ones (AVX-512 bf16 or AMX, and KERF_ISA allows
/// it). On CPUs without them the bf16 functions below must not be called: Error internal.
bool fast_bf16();
/// matmul_nt with x rounded to bf16 and w, dense, given as bf16 bit patterns.
void matmul_nt_bf16(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const uint16_t* w,
                    float* y, int64_t y_stride);
/// c[m, n] = a[m, k] b[k, n] of bf16 bit patterns, all dense, on the calling thread; with `b_transposed` b is [n, k].
void matmul_bf16_on_this_thread(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b,
                                bool b_transposed, float* c);

/// c[i, j] += sum over t of a[t, i] * b[t, j]:  a is [tokens, rows], b is [tokens, cols], c is [rows, cols], with the
/// given distances between rows of a and b. With `upper` only panels that touch the upper triangle (j >= i) are
/// computed; the others keep what they hold.
void add_product_tn(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                    int64_t b_stride, float* c, bool upper);
/// The same with a and b rounded to bf16, and float32 sums.
void add_product_tn_bf16(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                         int64_t b_stride, float* c, bool upper);

/// c[t, k] += sum over r of a[t, r] * b[r, k]:  a is [tokens, rows], b is [rows, cols], c is [tokens, cols], with the
/// given distances between rows.
void add_product_nn(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride, const float* b,
                    int64_t b_stride, float* c, int64_t c_stride);
/// The same with a rounded to bf16 and b, dense, given as bf16 bit patterns, with float32 sums.
void add_product_nn_bf16(int64_t tokens, int64_t rows, int64_t cols, const float* a, int64_t a_stride,
                         const uint16_t* b, float* c, int64_t c_stride);

}  // namespace kerf
