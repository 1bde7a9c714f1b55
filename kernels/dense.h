// Dense float32 products, through oneDNN.
#pragma once

#include <cstdint>

namespace kerf {

/// y[t, r] = sum over k of x[t, k] * w[r, k]:  x is [tokens, in], w is [out, in], y is [tokens, out], all row-major
/// with the given distance between rows (in floats). Cut into panels of fixed size that run on kerf's threads, each
/// product single-threaded, so that the result does not depend on the number of threads.
void matmul_nt(int64_t tokens, int64_t out, int64_t in, const float* x, int64_t x_stride, const float* w,
               int64_t w_stride, float* y, int64_t y_stride);

}  // namespace kerf
