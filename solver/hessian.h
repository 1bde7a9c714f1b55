// What a matrix's inputs look like: the second moments that turn an error of weights into an error of outputs.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kerf {

/// H = sum over tokens of x xT, [n, n] float32. For weights w and their stand-ins q, with E = w - q,
///   sum over tokens of |E x|^2 = sum over rows e of E of e H eT:
/// the squared output error, which quantizers and pruners make small.
struct Hessian {
  explicit Hessian(int64_t n);

  int64_t n = 0, tokens = 0;
  std::vector<float> values;  // symmetric once finish() was called, before that its upper triangle

  /// Adds rows x[tokens, n], with `stride` floats between rows. Where the CPU multiplies bf16 faster, x is rounded to
  /// it first (sums are float32): relative errors of 2^-9 per factor, without a common sign, in sums over thousands of
  /// tokens; damping adds far more. Error numerical when x holds NaN or infinity.
  void add(const float* x, int64_t tokens, int64_t stride);
  /// Copies the upper triangle to the lower one. Error numerical, naming `what`, when a sum has overflowed.
  void finish(std::string_view what = "a matrix");

  /// Adds the sums over other tokens, value by value: one rounding each. Both are finished, or neither. Error numerical
  /// when a sum overflows, internal when the widths differ.
  void merge(const Hessian& next);

  /// Of the diagonal.
  double mean() const;
  /// Channels that were always zero.
  int64_t dead_channels() const;
  float diagonal(int64_t i) const { return values[static_cast<size_t>(i * n + i)]; }
  const float* row(int64_t i) const { return values.data() + i * n; }
};

/// That of the tokens of both: a, then merge(b).
Hessian sum_of(const Hessian&, const Hessian&);

/// Of outputs of several matrices, one after the other, of which those of two share nothing.
Hessian block_diagonal(std::span<const Hessian>);

/// c += sum over tokens of a bT, [m, n], for rows a[tokens, m] and b[tokens, n], rounded as in Hessian::add(). With
/// `upper` at least its upper triangle.
void add_moments(const float* a, int64_t m, int64_t a_stride, const float* b, int64_t n, int64_t b_stride,
                 int64_t tokens, float* c, bool upper);

/// For each row e of E [rows, n]: e H eT. Shapes as above.
std::vector<double> hessian_norms(const Hessian&, std::span<const float> e, int64_t rows);
/// Their sum: sum over tokens of |W x|^2.
double squared_outputs(const Hessian&, std::span<const float> w, int64_t rows);
/// sum over tokens of |(W - V) x|^2: what values that stand for the weights cost.
double squared_error(const Hessian&, std::span<const float> w, std::span<const float> values, int64_t rows);

}  // namespace kerf
