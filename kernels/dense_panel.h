// The single-threaded dense product that matmul_nt and the packed products cut their work into.
#pragma once

#include <cstdint>

namespace kerf {

/// y[t, r] (+)= sum over k of x[t, k] * w[r, k], laid out as in matmul_nt, on the calling thread alone. With
/// `accumulate` the sum is added to y, otherwise y is overwritten. `in` may be 0 (the sum is then 0).
void matmul_nt_on_this_thread(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
                              int64_t w_stride, float* y, int64_t y_stride, bool accumulate);

/// At least n floats, aligned to 64 bytes, that belong to the calling thread until it asks again. Contents undefined.
float* thread_scratch(int64_t n);

}  // namespace kerf
