// A matrix that multiplies.
#pragma once

#include <cstdint>

namespace kerf {

/// A matrix [out, in] in the arithmetic of whoever made it.
class Linear {
 public:
  Linear(int64_t out, int64_t in) : out(out), in(in) {}
  virtual ~Linear() = default;
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  /// y[t * y_stride + (r - row_begin)] = sum over k of x[t * in + k] * w[r, k] for the rows [row_begin, row_end),
  /// without bias. On kerf's threads. Several threads may call it at a time, unless whoever made it says otherwise.
  virtual void apply(const float* x, int64_t tokens, int64_t row_begin, int64_t row_end, float* y,
                     int64_t y_stride) const = 0;
  /// to[(r - row_begin) * in + k] = w[r, k] for the rows [row_begin, row_end), as numbers.
  virtual void read_rows(int64_t row_begin, int64_t row_end, float* to) const = 0;

  /// dx[t * in + k] += sum over r of dy[t * out + r] * w[r, k]: what a gradient of the outputs is to the inputs. Unless
  /// whoever made it says otherwise in float32, over the numbers of read_rows().
  virtual void add_transposed(const float* dy, int64_t tokens, float* dx) const;
  /// dw[r * in + k] += sum over t of dy[t * out + r] * x[t * in + k]: what it is to the weights; in float32, too.
  virtual void add_weight_gradient(const float* dy, const float* x, int64_t tokens, float* dw) const;

  const int64_t out, in;
};

}  // namespace kerf
